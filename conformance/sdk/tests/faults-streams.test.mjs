// Engine and endpoint are killed at random under streams whose readers' connections break, too.

import { describe, it } from "node:test";
import { Endpoint } from "../harness/endpoint.mjs";
import { Engine, underKills } from "../harness/engine.mjs";
import { assertStepsOnce, assertStream } from "../harness/invariants.mjs";
import { pause } from "../harness/program.mjs";
import { killAtRandom, randomly, seeds } from "../harness/random.mjs";
import { followStream, readStream } from "../harness/sse.mjs";

const RUNS = 12;
const numbers = Array.from({ length: 30 }, (_, n) => `${n} `);

/** Calls the endpoint until a call tells where its stream goes on. */
async function redirected(url) {
  for (;;) {
    const { frames } = await readStream(url, { signal: AbortSignal.timeout(5_000) }).catch(() => ({ frames: [] }));
    const found = frames.find(({ event }) => event === "inngest.redirect_info");
    if (found) return found.data;
    await pause(200);
  }
}

for (const seed of seeds) {
  describe(`streams under random kills, seed ${seed}`, () => {
    it(`${RUNS} readers see each frame once, in order, and what was committed stays`, async () => {
      const random = randomly(seed);
      const engine = await Engine.dev({ flags: underKills });
      const endpoint = await Endpoint.start("faults", engine);
      const kills = killAtRandom(random, { engine, endpoint }, 6);
      try {
        const readers = Array.from({ length: RUNS }, async () => {
          await pause(random() * 3_000);
          const { url } = await redirected(`${endpoint.url}/streaming`);
          const live = await followStream(url, { cutAfter: 3 + Math.floor(random() * 20) });
          assertStream(live.frames, numbers);
          return url;
        });
        const urls = await Promise.all(readers);
        await kills;
        for (const url of urls) assertStream((await followStream(url)).frames, numbers);
        assertStepsOnce(endpoint.lines(), [...engine.killedAt, ...endpoint.killedAt]);
      } catch (error) {
        error.message += `\nseed ${seed}`;
        throw engine.blame(error);
      } finally {
        await Promise.all([engine.kill(), endpoint.kill()]);
      }
    });
  });
}
