// Endpoints that are killed, and whose engine is killed, in every phase. Their answers follow from their queries.

import { step } from "inngest";
import { stream } from "inngest/experimental/durable-endpoints";
import { setTimeout as pause } from "node:timers/promises";
import { currentRun, endpoint, listen, log, logged, watchedFetch } from "./kit.mjs";

const queryOf = (request) => Object.fromEntries(new URL(request.url).searchParams);
const watched = (handler) =>
  endpoint(async (request) => handler(queryOf(request)), { retries: 20 }, { fetch: watchedFetch });

const taking = (id, ms, value) => logged(id, async () => (await pause(ms), value));

async function* chunks(from, to, ms) {
  for (let n = from; n < to; n += 1) {
    await pause(ms);
    yield `${n} `;
  }
}

listen({
  "/sync": watched(async () => {
    const a = await taking("a", 700, 1);
    const b = await taking("b", 700, a + 1);
    const c = await taking("c", 20, b + 1);
    return { a, b, c };
  }),
  "/sleeping": watched(async ({ duration }) => {
    await logged("before");
    await step.sleep("pause", duration ?? "2s");
    await logged("after");
    return { slept: true };
  }),
  "/failing": watched(async () => {
    await logged("before");
    const tries = await logged("flaky", (n) => {
      if (n < 2) throw new Error("not yet");
      return "passed";
    });
    return { tries };
  }),
  "/waiting": watched(async ({ event }) => {
    await logged("before");
    const got = await step.waitForEvent("wait", { event, timeout: "60s" });
    await logged("after");
    return { n: got?.data.n ?? null };
  }),
  "/re-entry": watched(async () => {
    await logged("before");
    await step.sleep("pause", "1s");
    const a = await taking("long", 900, "A");
    const b = await taking("last", 20, "B");
    return { a, b };
  }),
  "/parallel": watched(async () => {
    await logged("before");
    const got = await Promise.all([taking("p1", 200, 1), taking("p2", 900, 2), taking("p3", 1_600, 3)]);
    const sum = await logged("sum", () => got.reduce((a, b) => a + b));
    return { got, sum };
  }),
  "/streaming": watched(async () => {
    await logged("before");
    await step.sleep("pause", "1s");
    await logged("s0", () => stream.pipe(() => chunks(0, 10, 20)));
    await logged("s1", () => stream.pipe(() => chunks(10, 20, 80)));
    await logged("s2", () => stream.pipe(() => chunks(20, 30, 20)));
    return { counted: 30 };
  }),

  /** Every kind of phase in one run, for kills at random. */
  "/everything": watched(async ({ key }) => {
    const k = Number(key);
    const before = await logged("a", async () => (await pause(k % 7 * 8), k));
    const b = await logged("b", async () => (await pause(20), before * 2));
    log({ kind: "sleeping", runId: await currentRun(), ms: 1_000 });
    await step.sleep("pause", "1s");
    await logged("after-sleep");
    const parts = await Promise.all([1, 2, 3].map((n) => logged(`p${n}`, async () => (await pause(n * 40), b + n))));
    const paid = await step.waitForEvent("paid", {
      event: "faults/paid",
      if: `async.data.key == '${key}'`,
      timeout: "10m",
    });
    const amount = await logged("amount", () => paid.data.amount);
    const tried = await logged("flaky", (n) => {
      if (n < 2 && k % 3 === 0) throw new Error("not yet");
      return "passed";
    });
    return { key, sum: parts.reduce((x, y) => x + y), amount, tried };
  }),
});
