// Where a client is sent is up to a function: here to the engine itself, for the handler's own status and headers.

import { Inngest, step } from "inngest";
import { endpointAdapter, serveEndpoint } from "inngest/node";
import { listen, query } from "./routes.js";

// `INNGEST_DEV=1` stands for the usual place.
const { INNGEST_DEV } = process.env;
const engine = INNGEST_DEV?.startsWith("http") ? INNGEST_DEV : "http://localhost:8288";

const inngest = new Inngest({
  id: "node-redirects",
  endpointAdapter: endpointAdapter.withOptions({
    // Onward's `response=original` is what makes the difference: without it an answer comes as a JSON string.
    asyncRedirectUrl: ({ runId, token }) =>
      `${engine}/v1/http/runs/${runId}/output?token=${token}&response=original`,
  }),
});

const create = inngest.endpoint(async (req: Request) => {
  const name = query(req, "name", "lamp");
  const id = await step.run("create", () => name.length);
  await step.sleep("settle", "1s");
  return new Response(`created ${name}\n`, {
    status: 201,
    headers: { "content-type": "text/plain", "x-item": String(id) },
  });
});

listen({ "/create": serveEndpoint(create) });
