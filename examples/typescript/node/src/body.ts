// A POST body: it is read from a clone, outside of the durable handler, which gets it as an argument.

import { Inngest, step } from "inngest";
import { endpointAdapter, serveEndpoint } from "inngest/node";
import { listen } from "./routes.js";

interface Order {
  item: string;
  count: number;
}

const inngest = new Inngest({
  id: "node-body",
  endpointAdapter: endpointAdapter.withOptions({ asyncRedirectUrl: "/wait" }),
});

const order = inngest.endpoint(async (_req: Request, { item, count }: Order) => {
  const cents = await step.run("price", () => count * 1400);
  await step.sleep("pack", "1s");
  const parcel = await step.run("send", () => `${count} x ${item}`);
  return Response.json({ parcel, cents });
});

listen({
  // The package has read the request's own body before the handler could. The engine keeps it, and sends it each time.
  "/order": serveEndpoint(async (req) => order(req, await req.clone().json())),
  "/wait": inngest.endpointProxy(),
});
