// What becomes of errors.

import assert from "node:assert/strict";
import { test } from "node:test";
import { json, program } from "./programs.mjs";

test("failures: a step is tried again until it works", async (t) => {
  const { url } = await program(t, "failures");
  const { error, tries } = await json(fetch(`${url}/flaky`));
  assert.deepEqual({ error, tries }, { error: null, tries: 3 });
});

test("failures: when the tries are used up, the handler can catch the error", async (t) => {
  const { url } = await program(t, "failures");
  const { error, tries } = await json(fetch(`${url}/broken`));
  assert.deepEqual({ error, tries }, { error: "Error: the service is unavailable", tries: 3 });
});

test("failures: an error that no try can mend is given up at once", async (t) => {
  const { url } = await program(t, "failures");
  const { error, tries } = await json(fetch(`${url}/refused`));
  assert.equal(tries, 1);
  assert.match(error, /the card is refused/);
});

test("failures: a step that says when it can be tried again is not tried before", async (t) => {
  const { url } = await program(t, "failures");
  const { error, pausesMs } = await json(fetch(`${url}/busy`));
  assert.equal(error, null);
  // The package does not tell the engine the first time: that pause is the engine's own.
  assert.equal(pausesMs.length, 2);
  assert.ok(pausesMs[1] >= 3_000, `${pausesMs}`);
});

test("failures: an error that nothing catches fails the run, and the client is told", async (t) => {
  const { url } = await program(t, "failures");
  const response = await fetch(`${url}/uncaught`);
  assert.equal(response.status, 500);
  assert.match(JSON.stringify(await response.json()), /the card is stolen/);
});
