// Steps in order, one of which fails the first time: what was done before it is not done again.

import { step } from "inngest";
import { inngest } from "./client.js";

/** The payment service's view: how often each order was tried. */
const tries = new Map<string, number>();

export const process = inngest.endpoint(async (req: Request) => {
  const user = new URL(req.url).searchParams.get("user") ?? "Ada";

  const order = await step.run("create-order", () => ({ id: crypto.randomUUID(), user, cents: 4200 }));

  const charge = await step.run("charge", () => {
    const n = (tries.get(order.id) ?? 0) + 1;
    tries.set(order.id, n);
    if (n === 1) throw new Error("the payment service is unavailable");
    return { cents: order.cents, tries: n };
  });

  // At the same time: the engine calls back for each of them.
  const [mail, parcel] = await Promise.all([
    step.run("mail", () => `mail to ${order.user}`),
    step.run("parcel", () => `parcel for ${order.user}`),
  ]);
  return Response.json({ order, charge, mail, parcel });
});
