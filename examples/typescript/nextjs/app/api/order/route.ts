// An order: reserved, charged, packed. What is done is kept, whatever happens in between.

import { step } from "inngest";
import { inngest } from "@/lib/inngest";

/** The payment service's view: how often each order was tried. */
const tries = new Map<string, number>();

export const POST = inngest.endpoint(async (req: Request) => {
  const { searchParams } = new URL(req.url);
  const item = searchParams.get("item") ?? "lamp";
  const failures = Number(searchParams.get("failures") ?? "0");

  const order = await step.run("reserve", () => ({ id: crypto.randomUUID().slice(0, 8), item }));

  const charge = await step.run("charge", () => {
    const n = (tries.get(order.id) ?? 0) + 1;
    tries.set(order.id, n);
    if (n <= failures) throw new Error("the payment service is unavailable");
    return { cents: 4200, tries: n };
  });

  const parcel = await step.run("pack", () => `${order.item} (${order.id})`);
  return Response.json({ order: order.id, parcel, ...charge });
});
