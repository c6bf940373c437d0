// Bun with the edge adapter, as the documentation shows it.

import { Inngest, NonRetriableError, step } from "inngest";
import { stream } from "inngest/experimental/durable-endpoints";
import { endpointAdapter } from "inngest/edge";
import { currentRun, logged } from "./kit.mjs";

const inngest = new Inngest({
  id: "bun",
  endpointAdapter: endpointAdapter.withOptions({ asyncRedirectUrl: "/wait", retries: 2 }),
});

const slow = inngest.endpoint(async (request) => {
  const name = new URL(request.url).searchParams.get("name");
  await logged("before");
  await step.sleep("pause", "1s");
  const text = await logged("after", () => `hello ${name}`);
  return Response.json({ text });
});

Bun.serve({
  port: Number(process.env.PORT),
  hostname: "127.0.0.1",
  idleTimeout: 60,
  routes: {
    "/ready": new Response("ready"),
    "/ok": inngest.endpoint(async () => {
      const a = await logged("a", () => 1);
      return Response.json({ a, run: await currentRun() }, { status: 201, headers: { "x-own": "yes" } });
    }),
    "/slow": slow,
    "/retries": inngest.endpoint(async () => {
      const tries = await logged("flaky", (n) => {
        if (n < 3) throw new Error(`no ${n}`);
        return n;
      });
      return Response.json({ tries });
    }),
    "/fails": inngest.endpoint(async () => {
      await step.sleep("pause", "1s");
      await logged("hopeless", () => {
        throw new NonRetriableError("it is over");
      });
    }),
    "/approval": inngest.endpoint(async (request) => {
      const id = new URL(request.url).searchParams.get("requestId");
      const got = await step.waitForEvent("wait", { event: "approval/received", match: "data.requestId", timeout: "30s" });
      return Response.json({ id, by: got.data.by });
    }),
    "/parallel": inngest.endpoint(async () => {
      const all = await Promise.all(["x", "y", "z"].map((id) => logged(id, async () => (await Bun.sleep(200), id))));
      return Response.json(all);
    }),
    "/stream": inngest.endpoint(async () => {
      await logged("first", () => stream.push("one"));
      await step.sleep("pause", "1s");
      const text = await logged("second", () =>
        stream.pipe(async function* () {
          for (const word of ["two", "three"]) {
            await Bun.sleep(5);
            yield word;
          }
        }),
      );
      return new Response(text, { status: 202, headers: { "x-own": "yes" } });
    }),
    "/body": {
      POST: async (request) => {
        const body = await request.clone().text();
        return inngest.endpoint(async () => {
          const first = await logged("first", () => body);
          await step.sleep("pause", "1s");
          return { first, second: body };
        })(request);
      },
    },
    "/wait": inngest.endpointProxy(),
  },
});
