// Registered functions, and an endpoint to send the event that starts one.

import { NonRetriableError, step } from "inngest";
import { serve } from "inngest/node";
import { client, currentRun, endpoint, listen, log, logged, watchedFetch } from "./kit.mjs";

const functions = client({}, { id: "functions", fetch: watchedFetch });
const of = (id, handler, more = {}) => functions.createFunction({ id, ...more }, handler);

const all = [
  of("double", async ({ event, step }) => step.run("times-two", () => event.data.n * 2)),
  of("resting", async ({ event, step }) => {
    await logged("before-rest");
    await step.sleep("rest", "1s");
    return { n: event.data.n, rested: await logged("after-rest", () => true) };
  }),
  of("broken", async () => {
    throw new NonRetriableError("the function is broken");
  }),
  of("nothing", async () => {}),
  of("endless", async ({ step }) => step.sleep("long", "1h")),
  of("flaky", async ({ event, attempt }) => {
    const tries = await logged("flaky", (n) => {
      if (n < 2) throw new Error("not yet");
      return n;
    });
    return { n: event.data.n, tries, attempt };
  }, { retries: 2 }),
  of(
    "on-order",
    async ({ event, runId }) => {
      const total = await logged("total", () => event.data.items.reduce((a, b) => a + b, 0));
      await step.sleep("pause", "1s");
      log({ kind: "ordered", runId: await currentRun(), same: runId, total, name: event.name, id: event.id });
      return total;
    },
    { triggers: [{ event: "shop/order" }] },
  ),
  of("on-big-order", async ({ event }) => void log({ kind: "big", n: event.data.n }), {
    triggers: [{ event: "shop/sized", if: "event.data.n > 10" }],
  }),
];

listen({
  "/api/inngest": { listener: serve({ client: functions, functions: all }) },
  "/order": endpoint(async () => Response.json(await functions.send({ name: "shop/order", data: { items: [1, 2, 3] } }))),
});
