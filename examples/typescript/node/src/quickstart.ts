// The smallest durable endpoint: an ordinary handler, whose steps are kept as soon as they are done.

import { Inngest, step } from "inngest";
import { createEndpointServer, endpointAdapter } from "inngest/node";

const inngest = new Inngest({ id: "node-quickstart", endpointAdapter });

const server = createEndpointServer(
  inngest.endpoint(async (req: Request) => {
    const { searchParams } = new URL(req.url);
    const greeting = await step.run("greet", () => `Hello, ${searchParams.get("name") ?? "world"}!`);

    // Whoever pauses does not hold the process: the client is sent on, and the engine calls this handler again.
    const pause = searchParams.get("pause");
    if (pause) await step.sleep("pause", pause);

    const at = await step.run("sign", () => new Date().toISOString());
    return Response.json({ greeting, at });
  }),
);

const port = process.env.PORT ?? "3000";
server.listen(port, () => console.log(`listens on http://localhost:${port}`));
