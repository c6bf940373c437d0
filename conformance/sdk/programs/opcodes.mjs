// Each operation that the SDK can ask of an engine. What differs between calls comes by the query.

import { fetch as durableFetch, group, referenceFunction, step } from "inngest";
import { setTimeout as pause } from "node:timers/promises";
import { endpoint as plainEndpoint, listen, logged, watchedFetch } from "./kit.mjs";

const endpoint = (handler, options) => plainEndpoint(handler, options, { fetch: watchedFetch });
const queryOf = (request) => Object.fromEntries(new URL(request.url).searchParams);

/** A handler whose query is read already, and that answers with what it gives or how it failed. */
const asked = (handler, options) =>
  endpoint(async (request) => {
    try {
      return { value: (await handler(queryOf(request))) ?? null };
    } catch (error) {
      if (!error?.stepId) throw error;
      const { name, message, stepId } = error;
      return { error: { name, message, stepId } };
    }
  }, options);

const values = {
  nothing: undefined,
  null: null,
  false: false,
  zero: 0,
  fraction: 1.5,
  big: 9007199254740991,
  empty: "",
  text: "ünïcödé \u2028 \u0000 \"\\",
  list: [1, [2, [3]], {}],
  nested: { data: { error: { input: [] } } },
  looksLikeError: { error: "a value, not an error" },
  looksLikeData: { data: 1 },
  long: "x".repeat(300_000),
};

const child = (functionId) => referenceFunction({ appId: "functions", functionId });

listen({
  "/values": asked(async () => {
    const got = {};
    for (const [name, value] of Object.entries(values)) got[name] = await logged(`value-${name}`, () => value);
    await step.sleep("pause", "1s");
    // Once more as they are remembered.
    return { got, remembered: await logged("after", () => JSON.stringify(got)) };
  }),
  "/input": asked(async () => {
    const sum = await logged("add", (_n, a, b) => a + b, 2, 3);
    const [joined, doubled] = await Promise.all([
      logged("join", (_n, ...words) => words.join("-"), "a", "b"),
      logged("double", (_n, x) => x * 2, 21),
    ]);
    return { sum, joined, doubled };
  }),
  "/repeated": asked(async () => {
    const all = [];
    for (let i = 0; i < 3; i += 1) all.push(await logged("same", () => i));
    await step.sleep("pause", "1s");
    for (let i = 3; i < 5; i += 1) all.push(await logged("same", () => i));
    await step.sleep("pause", "1s");
    return all;
  }),
  "/send-event": asked(async ({ name, id }) => {
    const one = await step.sendEvent("tell-one", { name, data: { n: 1 }, ...(id && { id }) });
    const many = await step.sendEvent("tell-many", [{ name, data: { n: 2 } }, { name, data: { n: 3 } }]);
    await step.sleep("pause", "1s");
    return { one, many };
  }),
  "/sleep": asked(async ({ duration }) => {
    await logged("before");
    await step.sleep("pause", duration);
    await logged("after");
  }),
  "/sleep-ms": asked(async ({ ms }) => {
    await logged("before");
    await step.sleep("pause", Number(ms));
    await logged("after");
  }),
  "/sleep-until": asked(async ({ at }) => {
    await step.sleepUntil("pause", new Date(Number(at)));
    await logged("after");
  }),
  "/sleep-until-text": asked(async ({ at }) => step.sleepUntil("pause", at)),
  "/wait": asked(async ({ event, condition, timeout }) => {
    const got = await step.waitForEvent("wait", { event, timeout, ...(condition && { if: condition }) });
    await logged("woken");
    return got;
  }),
  "/wait-late": asked(async ({ event }) => {
    await step.sleep("pause", "2s");
    const got = await step.waitForEvent("wait", { event, timeout: "20s" });
    return got?.data ?? null;
  }),
  "/wait-match": asked(async ({ event, match, timeout }) => step.waitForEvent("wait", { event, match, timeout })),
  "/wait-twice": asked(async ({ event }) => {
    const first = await step.waitForEvent("first", { event, timeout: "1h" });
    const second = await step.waitForEvent("second", { event, timeout: "1h" });
    return [first.data.n, second.data.n];
  }),
  "/wait-both": asked(async ({ event }) => {
    const both = await Promise.all(["a", "b"].map((id) => step.waitForEvent(id, { event, timeout: "20s" })));
    const later = await step.waitForEvent("later", { event, timeout: "2s" });
    return [...both, later].map((got) => got?.data.n ?? null);
  }),
  "/ask-and-wait": asked(async ({ event }) => {
    const [, got] = await Promise.all([
      step.sendEvent("ask", { name: event, data: { by: "a sibling" } }),
      step.waitForEvent("wait", { event, timeout: "20s" }),
    ]);
    return got?.data;
  }),
  "/wait-signal": asked(async ({ signal, timeout, conflict }) =>
    step.waitForSignal("wait", { signal, timeout, ...(conflict && { onConflict: conflict }) }),
  ),
  "/send-signal": asked(async ({ signal }) => step.sendSignal("tell", { signal, data: { ok: true } })),

  "/invoke": asked(async ({ id, n, timeout }) =>
    step.invoke("call", { function: child(id), data: { n: Number(n) }, ...(timeout && { timeout }) }),
  ),
  "/invoke-twice": asked(async () => {
    const [a, b] = await Promise.all([
      step.invoke("a", { function: child("double"), data: { n: 1 } }),
      step.invoke("b", { function: child("double"), data: { n: 2 } }),
    ]);
    return [a, b];
  }),
  "/infer": asked(async ({ base, kind }) => {
    const of = { baseUrl: `${base}/v1`, apiKey: "secret-api-key", model: "test-model" };
    const models = {
      openai: () => step.ai.models.openai(of),
      anthropic: () => step.ai.models.anthropic({ ...of, defaultParameters: { max_tokens: 5 } }),
      gemini: () => step.ai.models.gemini(of),
    };
    const body = kind === "gemini" ? { contents: [] } : { messages: [{ role: "user", content: "hello" }] };
    return step.ai.infer("ask", { model: models[kind ?? "openai"](), body });
  }),
  "/wrap": asked(async () => {
    const text = await step.ai.wrap("generate", async (prompt) => `${prompt}, world`, "hello");
    await step.sleep("pause", "1s");
    return text;
  }),
  "/fetch": asked(async ({ url, method, body }) => {
    const response = await durableFetch(url, { method, body, headers: { "x-own": "yes", "content-type": "text/plain" } });
    return { status: response.status, type: response.headers.get("content-type"), text: await response.text() };
  }),

  "/parallel": asked(async () => {
    const got = await Promise.all(
      [300, 200, 100].map((ms) => logged(`after-${ms}`, async () => (await pause(ms), ms))),
    );
    return { got, sum: await logged("sum", () => got.reduce((a, b) => a + b)) };
  }),
  "/parallel-uneven": asked(async () => {
    const got = await Promise.all([
      logged("quick", async () => (await pause(50), "quick")),
      logged("slow", async () => (await pause(1_500), "slow")),
      logged("middle", async () => (await pause(700), "middle")),
    ]);
    return { got, last: await logged("last", () => "last") };
  }),
  "/parallel-chains": asked(async () =>
    Promise.all(
      ["a", "b"].map(async (name, index) => {
        const first = await logged(`${name}1`, async () => (await pause(100 + 200 * index), name));
        return logged(`${name}2`, () => `${first}!`);
      }),
    ),
  ),
  "/parallel-mixed": asked(async ({ event }) => {
    const [a, , got, inner] = await Promise.all([
      logged("a", () => "A"),
      step.sleep("pause", "1s"),
      step.waitForEvent("wait", { event, timeout: "1h" }),
      step.invoke("call", { function: child("double"), data: { n: 4 } }),
    ]);
    return [a, got.data.n, inner];
  }),
  "/parallel-failing": asked(async () => {
    const settled = await Promise.allSettled([
      logged("good", () => "good"),
      logged("flaky", (n) => {
        if (n < 3) throw new Error(`no ${n}`);
        return n;
      }),
      logged("bad", () => {
        throw new Error("never");
      }),
    ]);
    return settled.map(({ status, value, reason }) => (status === "fulfilled" ? value : reason.message));
  }, { retries: 2 }),
  "/race-mode": asked(async () => {
    const winner = await group.parallel({ mode: "race" }, () =>
      Promise.race([
        logged("slow", async () => (await pause(2_500), "slow")),
        logged("fast", async () => (await pause(300), "fast")),
      ]),
    );
    return { winner, then: await logged("then", () => `after ${winner}`) };
  }),
  "/race-timer": asked(async ({ event, timer }) => {
    const winner = await group.parallel({ mode: "race" }, () =>
      Promise.race([
        step.sleep("timer", timer ?? "1s").then(() => "timer"),
        // A run ends when its lost branches have ended, too.
        step.waitForEvent("wait", { event, timeout: "4s" }).then(() => "event"),
      ]),
    );
    return { winner, then: await logged("then", () => winner) };
  }),
  "/race": asked(async () => {
    // The first of the list is the last to end: who wins is told by the order of completion.
    const winner = await Promise.race([
      logged("slow", async () => (await pause(900), "slow")),
      logged("middle", async () => (await pause(500), "middle")),
      logged("fast", async () => (await pause(100), "fast")),
    ]);
    return { winner, then: await logged("then", () => winner) };
  }),

  "/steps": asked(async ({ n }) => {
    await logged("first");
    await step.sleep("pause", "1s");
    let sum = 0;
    for (let i = 0; i < Number(n); i += 1) sum += await logged(`step-${i}`, () => i);
    return sum;
  }),
  "/slow-first": asked(async () => {
    await step.run("quick", () => 1);
    return step.run("long", async () => (await pause(2_500), "long"));
  }),
});
