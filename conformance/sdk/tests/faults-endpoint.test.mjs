// The endpoint is killed with `kill -9` in every phase of a run, and started again.

import { describe, it } from "node:test";
import { firstRequestOfEndpoint, phases, setting } from "../harness/phases.mjs";

describe("the endpoint is killed", { concurrency: 3 }, () => {
  for (const [name, phase] of Object.entries(firstRequestOfEndpoint)) {
    it(`in the first request, ${name}`, () =>
      setting((both) => phase(both, (down) => both.endpoint.restart(down))));
  }
  for (const [name, phase] of Object.entries(phases)) {
    it(name, () => setting((both) => phase(both, (down) => both.endpoint.restart(down))));
  }
});

describe("both are killed at once", { concurrency: 3 }, () => {
  const together = ({ engine, endpoint }) => (down) => Promise.all([engine.restart(down), endpoint.restart(down)]);
  for (const [name, phase] of Object.entries(phases)) {
    it(name, () => setting((both) => phase(both, together(both))));
  }
});
