// An order that waits for two people, for days if need be: `match`, `if`, `inngest.send()` and the proxy at /wait.

import { Inngest, step } from "inngest";
import { endpointAdapter, serveEndpoint } from "inngest/node";
import { listen, query } from "./routes.js";

const inngest = new Inngest({
  id: "node-approval",
  // A path: clients whose run goes on without them are sent to it, with `runId` and `token`.
  endpointAdapter: endpointAdapter.withOptions({ asyncRedirectUrl: "/wait" }),
});

const order = inngest.endpoint(async (req: Request) => {
  const orderId = query(req, "orderId", "1");
  const { item, cents } = await step.run("reserve", () => ({ item: "lamp", cents: 4200 }));

  const decision = await step.waitForEvent("decision", {
    event: "order/decided",
    match: "data.orderId", // the same in the event as in this request's query
    timeout: query(req, "timeout", "24h"),
  });
  if (!decision) return Response.json({ orderId, status: "nobody decided" });
  if (!decision.data.approved) return Response.json({ orderId, status: "rejected" });

  const payment = await step.waitForEvent("payment", {
    event: "payment/received",
    if: `async.data.orderId == ${JSON.stringify(orderId)} && async.data.cents >= ${cents}`,
    timeout: "7d",
  });
  return Response.json({ orderId, item, status: payment ? "paid" : "never paid", cents: payment?.data.cents });
});

async function approve(req: Request): Promise<Response> {
  const data = { orderId: query(req, "orderId", "1"), approved: query(req, "approved", "true") === "true" };
  return Response.json(await inngest.send({ name: "order/decided", data }));
}

async function pay(req: Request): Promise<Response> {
  const data = { orderId: query(req, "orderId", "1"), cents: Number(query(req, "cents", "4200")) };
  return Response.json(await inngest.send({ name: "payment/received", data }));
}

listen({
  "/order": serveEndpoint(order),
  "/approve": serveEndpoint(approve),
  "/pay": serveEndpoint(pay),
  "/wait": inngest.endpointProxy(),
});
