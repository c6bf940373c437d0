// The phases of a run in which something is killed, and what must hold afterwards. Each is told who to kill.

import assert from "node:assert/strict";
import { call, start } from "./client.mjs";
import { Endpoint } from "./endpoint.mjs";
import { Engine, underKills } from "./engine.mjs";
import { acknowledged, assertEnds, assertNotEarly, assertStepsOnce, assertStream } from "./invariants.mjs";
import { eventually, pause } from "./program.mjs";
import { followStream, readStream } from "./sse.mjs";

/** An engine and an endpoint of their own, for one test. */
export async function setting(test) {
  const engine = await Engine.dev({ flags: underKills });
  const endpoint = await Endpoint.start("faults", engine);
  try {
    await test({ engine, endpoint });
    assertStepsOnce(endpoint.lines(), [...engine.killedAt, ...endpoint.killedAt]);
  } catch (error) {
    throw engine.blame(error);
  } finally {
    await Promise.all([engine.kill(), endpoint.kill()]);
  }
}

/** How often steps were executed. */
export const counts = (endpoint, runId, ...steps) => steps.map((step) => endpoint.executions(step, runId).length);

/** How often steps may be executed: these once, the others once or, where their report was lost, twice. */
function assertCounts(endpoint, runId, once, maybeTwice = []) {
  for (const step of once) assert.equal(endpoint.executions(step, runId).length, 1, step);
  for (const step of maybeTwice) assert.ok([1, 2].includes(endpoint.executions(step, runId).length), step);
}

const started = (endpoint, step) => endpoint.line(`${step} starts`, (line) => line.kind === "start" && line.step === step);

/** The phases after the first request: what runs, when it is killed, and what must hold. */
export const phases = {
  "while the run sleeps": async ({ engine, endpoint }, restart) => {
    const { runId, token } = await start(`${endpoint.url}/sleeping`);
    await restart(300);
    await assertEnds(engine, runId, token, { slept: true });
    assertNotEarly(endpoint.lines(), runId, "before", "after", 2_000);
    assertCounts(endpoint, runId, ["before", "after"]);
  },
  "while the run sleeps, and back only after its time": async ({ engine, endpoint }, restart) => {
    const { runId, token } = await start(`${endpoint.url}/sleeping?duration=1s`);
    await restart(1_800);
    await assertEnds(engine, runId, token, { slept: true });
    assertNotEarly(endpoint.lines(), runId, "before", "after", 1_000);
    assertCounts(endpoint, runId, ["before", "after"]);
  },
  "in a retry's back-off": async ({ engine, endpoint }, restart) => {
    const { runId, token } = await start(`${endpoint.url}/failing`);
    await restart(200);
    await assertEnds(engine, runId, token, { tries: "passed" });
    assertCounts(endpoint, runId, ["before"]);
    // A killed endpoint counts its tries anew.
    const [tries] = counts(endpoint, runId, "flaky");
    assert.ok(tries >= 2 && tries <= 3, `${tries} tries`);
  },
  "while the run waits for an event": async ({ engine, endpoint }, restart) => {
    const { runId, token } = await start(`${endpoint.url}/waiting?event=faults/wait`);
    await restart(200);
    await engine.send("faults/wait", { n: 7 });
    await assertEnds(engine, runId, token, { n: 7 });
    assertCounts(endpoint, runId, ["before", "after"]);
  },
  "right after an event was acknowledged": async ({ engine, endpoint }, restart) => {
    const { runId, token } = await start(`${endpoint.url}/waiting?event=faults/wait`);
    await engine.send("faults/wait", { n: 8 });
    await restart(200);
    await assertEnds(engine, runId, token, { n: 8 });
    assertCounts(endpoint, runId, ["before"], ["after"]);
  },
  "in a re-entry": async ({ engine, endpoint }, restart) => {
    const { runId, token } = await start(`${endpoint.url}/re-entry`);
    await started(endpoint, "long");
    await pause(200);
    await restart(300);
    await assertEnds(engine, runId, token, { a: "A", b: "B" });
    assertCounts(endpoint, runId, ["before", "last"], ["long"]);
  },
  "in a parallel group": async ({ engine, endpoint }, restart) => {
    const { runId, token } = await start(`${endpoint.url}/parallel`);
    await endpoint.line("p1 ended", ({ kind, step }) => kind === "end" && step === "p1");
    // Its report has long arrived; those of the others have not.
    await pause(400);
    await restart(300);
    await assertEnds(engine, runId, token, { got: [1, 2, 3], sum: 6 });
    assertCounts(endpoint, runId, ["before", "p1", "sum"], ["p2", "p3"]);
  },
  "while a step streams, under a reader that comes back": async ({ engine, endpoint }, restart) => {
    const { frames } = await readStream(`${endpoint.url}/streaming`);
    const { url, runId } = frames.find(({ event }) => event === "inngest.redirect_info").data;
    const reading = followStream(url);
    await started(endpoint, "s1");
    await pause(300);
    await restart(300);
    const read = await reading;
    const numbers = Array.from({ length: 30 }, (_, n) => `${n} `);
    assertStream(read.frames, numbers);
    // A late reader sees the same, without what was rolled back; one that comes back is told of each rollback.
    assertStream((await followStream(url)).frames, numbers);
    for (const [index, { id }] of read.frames.slice(0, -1).entries()) {
      const rest = await readStream(url, { lastEventId: id });
      const frames = rest.frames.filter(({ event }) => event !== "inngest.metadata");
      assertStream([...read.frames.slice(0, index + 1), ...frames], numbers);
    }
    assertCounts(endpoint, runId, ["before", "s0", "s2"], ["s1"]);
    assert.equal((await engine.ended(runId)).status, "Completed");
  },
};

/** The first request, in which only the engine is killed: its client still waits for the answer. */
export const firstRequestOfEngine = {
  "before anything was reported": async ({ engine, endpoint }, restart) => {
    const answer = call(`${endpoint.url}/sync`);
    await started(endpoint, "a");
    await restart(200);
    assert.deepEqual(await (await answer).json(), { a: 1, b: 2, c: 3 });
    const [[runId, token]] = acknowledged(endpoint.lines());
    await assertEnds(engine, runId, token, { a: 1, b: 2, c: 3 });
    assertCounts(endpoint, runId, ["a", "b", "c"]);
  },
  "between two checkpoints": async ({ engine, endpoint }, restart) => {
    const answer = call(`${endpoint.url}/sync`);
    await started(endpoint, "b");
    await restart(100);
    assert.deepEqual(await (await answer).json(), { a: 1, b: 2, c: 3 });
    const [[runId, token]] = acknowledged(endpoint.lines());
    await assertEnds(engine, runId, token, { a: 1, b: 2, c: 3 });
    assertCounts(endpoint, runId, ["a", "b", "c"]);
  },
  "and down while the SDK tries to report": async ({ engine, endpoint }, restart) => {
    const answer = call(`${endpoint.url}/sync`);
    await started(endpoint, "b");
    // The step ends 700 ms after it started; the SDK tries for 1.5 s more.
    await restart(1_300);
    assert.deepEqual(await (await answer).json(), { a: 1, b: 2, c: 3 });
    const [[runId, token]] = acknowledged(endpoint.lines());
    await assertEnds(engine, runId, token, { a: 1, b: 2, c: 3 });
    assertCounts(endpoint, runId, ["a", "b", "c"]);
  },
};

/** The first request, in which the endpoint is killed: its client sees a broken connection. */
export const firstRequestOfEndpoint = {
  "before anything was reported: there is no run": async ({ engine, endpoint }, restart) => {
    const answer = call(`${endpoint.url}/sync`).catch(() => "broken");
    await started(endpoint, "a");
    await restart(100);
    assert.equal(await answer, "broken");
    assert.deepEqual((await (await engine.call("/v1/runs")).json()).data, []);
  },
  "between two checkpoints: the run is taken up after the lease": async ({ engine, endpoint }, restart) => {
    const answer = call(`${endpoint.url}/sync`).catch(() => "broken");
    await started(endpoint, "b");
    await restart(100);
    assert.equal(await answer, "broken");
    const [[runId, token]] = acknowledged(endpoint.lines());
    await assertEnds(engine, runId, token, { a: 1, b: 2, c: 3 });
    assert.deepEqual(counts(endpoint, runId, "a", "b", "c"), [1, 2, 1]);
  },
};

/** Waits until the engine keeps a wait of this name. */
export const waits = (engine, runId, step, within = 10_000) =>
  eventually(
    `${runId} waits for ${step}`,
    async () => (await engine.run(runId))?.steps.some(({ id }) => id === step),
    { within, every: 200 },
  );
