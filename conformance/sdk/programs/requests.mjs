// Requests that are more than a GET, responses that are more than JSON, and endpoints that die.

import { step } from "inngest";
import { stream } from "inngest/experimental/durable-endpoints";
import { setTimeout as pause } from "node:timers/promises";
import { currentRun, endpoint, listen, log, logged, watchedFetch } from "./kit.mjs";

const watched = (handler, options) => endpoint(handler, options, { fetch: watchedFetch });

/** Dies when the end of a run would be reported. */
const dyingFetch = (input, init) => {
  const ending = typeof init?.body === "string" && init.body.includes('"RunComplete"');
  if (process.env.DEADLY && ending) process.kill(process.pid, "SIGKILL");
  return watchedFetch(input, init);
};

/** The SDK reads the request's body itself, so the handler is given what was read before it. */
const withBody = (handler, options) => {
  const inner = watched(handler, options);
  return async (request) => inner(request, await request.clone().text());
};

listen({
  "/body": withBody(async (request, body) => {
    const first = await logged("first", () => ({ method: request.method, body }));
    await step.sleep("pause", "1s");
    const second = await logged("second", () => ({ method: request.method, body }));
    return { first, second };
  }),
  "/body-at-once": withBody(async (_request, body) => Response.json(await logged("echo", () => body), { status: 201 })),
  "/match": withBody(async (request) => {
    const event = new URL(request.url).searchParams.get("event");
    const match = new URL(request.url).searchParams.get("match") ?? "data.userId";
    const got = await step.waitForEvent("wait", { event, match, timeout: "30s" });
    return got?.data ?? null;
  }),
  "/if-own": withBody(async (request) => {
    const event = new URL(request.url).searchParams.get("event");
    const condition = new URL(request.url).searchParams.get("if");
    const got = await step.waitForEvent("wait", { event, if: condition, timeout: "30s" });
    return got?.data ?? null;
  }),
  "/query": watched(async (request) => {
    await step.sleep("pause", "1s");
    const query = [...new URL(request.url).searchParams];
    return logged("read", () => query);
  }),

  "/teapot": watched(async () => {
    await step.sleep("pause", "1s");
    return new Response("short and stout", {
      status: 418,
      headers: { "content-type": "text/plain", "x-own": "yes", "cache-control": "max-age=60" },
    });
  }),
  "/page": watched(async () => {
    await step.sleep("pause", "1s");
    return new Response("<h1>ünïcödé</h1>", { status: 404, headers: { "content-type": "text/html; charset=utf-8" } });
  }),
  "/empty": watched(async () => {
    await step.sleep("pause", "1s");
    return new Response(null, { status: 204, headers: { "x-own": "yes" } });
  }),
  "/moved": watched(async () => {
    await step.sleep("pause", "1s");
    return new Response("", { status: 303, headers: { location: "/elsewhere?a=1" } });
  }),

  "/die": watched(async () => {
    await logged("kept", () => 1);
    await logged("deadly", () => {
      if (process.env.DEADLY) process.kill(process.pid, "SIGKILL");
    });
    return "recovered";
  }),
  "/forget": endpoint(async () => Response.json({ n: await logged("kept", () => 7) }), {}, { fetch: dyingFetch }),
  "/ending": watched(async () => {
    await step.sleep("pause", "1s");
    await logged("last", () => 1);
    log({ kind: "returning", runId: await currentRun() });
    return { done: true };
  }),
  "/several": watched(async () => {
    await logged("one", () => 1);
    await step.sleep("pause", "1s");
    await logged("two", () => 2);
    await logged("three", () => 3);
    return { sum: 6 };
  }),
  "/streaming": watched(async () => {
    await step.sleep("pause", "1s");
    await logged("talk", async () => {
      for (let n = 0; n < 50; n += 1) {
        stream.push(n);
        await pause(100);
      }
    });
  }),
});
