// For clients that would rather not be redirected: they get a token, and ask for the answer when they like.

import { Inngest, step } from "inngest";
import { endpointAdapter, serveEndpoint } from "inngest/node";
import { AsyncResponseType } from "inngest/types";
import { listen, query } from "./routes.js";

const inngest = new Inngest({
  id: "node-token",
  endpointAdapter: endpointAdapter.withOptions({ asyncResponse: AsyncResponseType.Token }),
});

const report = inngest.endpoint(async (req: Request) => {
  const month = query(req, "month", "May");
  await step.sleep("gather", "1s");
  const total = await step.run("add", () => 40 + month.length);
  return Response.json({ month, total });
});

// The proxy takes `runId` and `token`, and holds the answer back until there is one.
listen({ "/report": serveEndpoint(report), "/result": inngest.endpointProxy() });
