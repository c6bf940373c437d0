// What follows from a seed.

import { pause } from "./program.mjs";

/** The seeds to run: SEEDS=1,2,3 names them. */
export const seeds = (process.env.SEEDS ?? "1").split(",").map(Number);

/** Numbers in [0, 1) that follow from a seed (mulberry32). */
export function randomly(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Kills the engine, the endpoint, or both, as often as `times`, and starts them again. */
export async function killAtRandom(random, { engine, endpoint }, times) {
  for (let n = 0; n < times; n += 1) {
    await pause(300 + random() * 1_500);
    const which = random();
    const down = random() * 600;
    if (which < 0.5) await engine.restart(down);
    else if (which < 0.9) await endpoint.restart(down);
    else await Promise.all([engine.restart(down), endpoint.restart(down)]);
  }
}
