// The engine is killed with `kill -9` in every phase of a run, and started again on the same store.

import { describe, it } from "node:test";
import { firstRequestOfEngine, phases, setting } from "../harness/phases.mjs";

describe("the engine is killed", { concurrency: 3 }, () => {
  for (const [name, phase] of Object.entries(firstRequestOfEngine)) {
    it(`in the first request, ${name}`, () =>
      setting((both) => phase(both, (down) => both.engine.restart(down))));
  }
  for (const [name, phase] of Object.entries(phases)) {
    it(name, () => setting((both) => phase(both, (down) => both.engine.restart(down))));
  }
});
