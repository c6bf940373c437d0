// Engine and endpoint are killed at random under fifty runs at once. SEEDS=1,2,3 names the seeds to run.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { call, output } from "../harness/client.mjs";
import { Endpoint } from "../harness/endpoint.mjs";
import { Engine, underKills } from "../harness/engine.mjs";
import { acknowledged, assertEnds, assertNotEarly, assertStepsOnce } from "../harness/invariants.mjs";
import { waits } from "../harness/phases.mjs";
import { pause } from "../harness/program.mjs";
import { killAtRandom, randomly, seeds } from "../harness/random.mjs";
import { outputUrl } from "../harness/wire.mjs";

const RUNS = 50;
const expected = (key) => ({ key, sum: 6 * Number(key) + 6, amount: Number(key) * 10, tried: "passed" });

/** Sends an event until it is acknowledged; its id makes it one event. */
async function pay(engine, key) {
  for (;;) {
    try {
      return await engine.send("faults/paid", { key, amount: Number(key) * 10 }, { id: `paid-${key}` });
    } catch {
      await pause(100);
    }
  }
}

for (const seed of seeds) {
  describe(`both are killed at random, seed ${seed}`, () => {
    it(`${RUNS} runs end right`, async () => {
      const random = randomly(seed);
      const engine = await Engine.dev({ flags: underKills });
      const endpoint = await Endpoint.start("faults", engine);
      const kills = killAtRandom(random, { engine, endpoint }, 8);
      try {
        const clients = Array.from({ length: RUNS }, async (_, index) => {
          const key = `${index + 1}`;
          await pause(random() * 6_000);
          // A request that breaks is made again, as clients do; each is a run of its own.
          for (;;) {
            const response = await call(`${endpoint.url}/everything?key=${key}`).catch(() => undefined);
            await response?.arrayBuffer().catch(() => {});
            if (response?.status === 302) return key;
            await pause(200);
          }
        });
        const keys = await Promise.all(clients);
        assert.equal(keys.length, RUNS);
        await kills;
        // All that were acknowledged, also those whose client saw a broken connection, come to their wait, and are paid.
        const runs = acknowledged(endpoint.lines());
        assert.ok(runs.size >= RUNS);
        await Promise.all([...runs.keys()].map((runId) => waits(engine, runId, "paid", 60_000)));
        const paying = Promise.all(keys.map((key) => pay(engine, key)));
        await pause(50 + random() * 200);
        await engine.restart(200);
        await paying;
        const outcomes = new Map();
        for (const [runId, token] of runs) {
          const { key } = JSON.parse((await output(outputUrl(engine, runId, token))).text);
          outcomes.set(runId, await assertEnds(engine, runId, token, expected(key)));
        }
        const lines = endpoint.lines();
        assertStepsOnce(lines, [...engine.killedAt, ...endpoint.killedAt]);
        for (const runId of runs.keys()) assertNotEarly(lines, runId, "b", "after-sleep", 1_000);
        await engine.restart();
        for (const [runId, token] of runs) {
          const { text } = await output(outputUrl(engine, runId, token));
          assert.equal(text, outcomes.get(runId), `P4: ${runId} after a restart`);
        }
      } catch (error) {
        error.message += `\nseed ${seed}`;
        throw engine.blame(error);
      } finally {
        await Promise.all([engine.kill(), endpoint.kill()]);
      }
    });
  });
}
