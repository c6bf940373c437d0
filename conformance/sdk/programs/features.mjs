// What the documentation of Durable Endpoints shows, a route each.

import { NonRetriableError, RetryAfterError, step } from "inngest";
import { createEndpointServer } from "inngest/node";
import { client, currentRun, endpoint, listen, log, logged } from "./kit.mjs";

const failing = (retries) =>
  endpoint(
    async () => {
      try {
        await logged("risky", (n) => {
          throw new Error(`try ${n}`);
        });
      } catch (error) {
        const { name, message, stepId } = error;
        return Response.json({ name, message, stepId }, { status: 500 });
      }
    },
    retries === undefined ? {} : { retries },
  );

const slow = async (request) => {
  const name = new URL(request.url).searchParams.get("name");
  await logged("before");
  await step.sleep("pause", "1s");
  const after = await logged("after", () => `hello ${name}`);
  return Response.json({ after });
};

const redirecting = (options) => endpoint(slow, options);
const proxied = (handler) => endpoint(handler, { asyncRedirectUrl: "/wait" });

listen({
  "/ok": endpoint(async (request) => {
    const query = new URL(request.url).searchParams.get("q");
    const a = await logged("a", () => ({ query }));
    const b = await logged("b", () => a.query.toUpperCase());
    return Response.json({ a, b, run: await currentRun() }, { status: 201, headers: { "x-own": "yes" } });
  }),
  "/plain": endpoint(async () => ({ run: await currentRun(), a: await logged("a", () => 1) })),
  "/stepless": endpoint(async () => new Response("nothing to keep", { status: 202 })),
  "/slow": endpoint(slow),
  "/nothing": endpoint(async () => void (await logged("a"), await step.sleep("pause", "1s"))),

  "/retries-default": failing(undefined),
  "/retries-0": failing(0),
  "/retries-1": failing(1),
  "/retries-2": failing(2),
  "/retries-5": failing(5),
  "/recovers": endpoint(async () => {
    const tries = await logged("flaky", (n) => {
      if (n < 3) throw new Error(`not yet: ${n}`);
      return n;
    });
    return Response.json({ tries });
  }),
  "/not-retriable": endpoint(async () => {
    await logged("hopeless", () => {
      throw new NonRetriableError("there is no such user", { cause: new Error("404") });
    });
  }),
  "/caught": endpoint(async () => {
    const error = await logged("hopeless", () => {
      throw new NonRetriableError("there is no such user");
    }).catch((caught) => ({ name: caught.name, message: caught.message, stepId: caught.stepId }));
    const after = await logged("after", () => "went on");
    return { error, after };
  }),
  "/retry-after": endpoint(async () => {
    await step.sleep("pause", "1s");
    const tries = await logged("limited", (n) => {
      if (n < 2) throw new RetryAfterError("slow down", 3_000);
      return n;
    });
    return { tries };
  }),
  "/outside": endpoint(
    async () => {
      await logged("inside", () => 1);
      log({ kind: "outside", runId: await currentRun() });
      throw new Error("outside of steps");
    },
    { retries: 2 },
  ),
  "/outside-recovers": endpoint(async () => {
    const n = await logged("inside", () => 1);
    await step.sleep("pause", "1s");
    const tries = (globalThis.outside = (globalThis.outside ?? 0) + 1);
    if (tries < 3) throw new Error(`outside: ${tries}`);
    return { n, tries };
  }),

  "/named": endpoint(slow, { functionId: "my-checkout" }),
  "/token": redirecting({ asyncResponse: "token" }),
  "/redirect-string": redirecting({ asyncRedirectUrl: "/wait?kept=1" }),
  "/redirect-elsewhere": redirecting({ asyncRedirectUrl: "https://app.example.com/poll" }),
  "/redirect-function": redirecting({ asyncRedirectUrl: async ({ runId, token }) => `/done/${runId}?t=${token}` }),
  "/proxied": proxied(slow),
  "/proxied-text": proxied(async () => {
    await step.sleep("pause", "1s");
    return new Response("plain text", { status: 418, headers: { "content-type": "text/plain" } });
  }),
  "/proxied-value": proxied(async () => {
    await step.sleep("pause", "1s");
    return { list: [1, 2] };
  }),
  "/proxied-failure": proxied(async () => {
    await step.sleep("pause", "1s");
    throw new NonRetriableError("it went wrong");
  }),
  "/wait": { listener: client().endpointProxy() },
});

if (process.env.PORT2) {
  const own = client().endpoint(async () => Response.json({ a: await logged("a", () => "of its own server") }));
  createEndpointServer(own).listen(Number(process.env.PORT2), "127.0.0.1");
}
