// Steps at the same time: groups, races, and what may never run twice.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { start, value } from "../harness/client.mjs";
import { Endpoint } from "../harness/endpoint.mjs";
import { Engine } from "../harness/engine.mjs";
import { eventually } from "../harness/program.mjs";

describe("opcodes: parallel steps and races", { concurrency: 4 }, () => {
  let engine, endpoint, functions;
  before(async () => {
    engine = await Engine.dev();
    [endpoint, functions] = await Promise.all([Endpoint.start("opcodes", engine), Endpoint.start("functions", engine)]);
    await fetch(`${functions.url}/api/inngest`, { method: "PUT" });
  });
  after(() => Promise.all([engine.stop(), endpoint.stop(), functions.stop()]));

  const of = (runId, kind, step) =>
    endpoint.lines().find((line) => line.kind === kind && line.step === step && line.runId === runId);

  it("a parallel group: all at the same time, each once, then the step after them once", async () => {
    const run = await start(`${endpoint.url}/parallel`);
    assert.deepEqual((await value(run.url)).value, { got: [300, 200, 100], sum: 600 });
    for (const step of ["after-300", "after-200", "after-100", "sum"]) {
      assert.equal(endpoint.executions(step, run.runId).length, 1, step);
    }
    const starts = [300, 200, 100].map((ms) => of(run.runId, "start", `after-${ms}`).at);
    assert.ok(Math.max(...starts) < of(run.runId, "end", "after-300").at, "they overlap");
  });

  it("parallel steps of unlike length never run twice, though the quick one ends long before", async () => {
    const run = await start(`${endpoint.url}/parallel-uneven`);
    assert.deepEqual((await value(run.url)).value, { got: ["quick", "slow", "middle"], last: "last" });
    for (const step of ["quick", "slow", "middle", "last"]) {
      assert.equal(endpoint.executions(step, run.runId).length, 1, step);
    }
    assert.ok(of(run.runId, "start", "last").at >= of(run.runId, "end", "slow").at);
  });

  it("parallel chains: each branch goes through its steps, each once", async () => {
    const run = await start(`${endpoint.url}/parallel-chains`);
    assert.deepEqual((await value(run.url)).value, ["a!", "b!"]);
    for (const step of ["a1", "a2", "b1", "b2"]) assert.equal(endpoint.executions(step, run.runId).length, 1, step);
  });

  it("a step, a sleep, a wait and an invoke in one group", async () => {
    const event = `test/mixed-${process.pid}`;
    const run = await start(`${endpoint.url}/parallel-mixed?event=${event}`);
    await engine.send(event, { n: 7 });
    assert.deepEqual((await value(run.url)).value, ["A", 7, 8]);
    assert.equal(endpoint.executions("a", run.runId).length, 1);
  });

  it("a failing step in a group is retried by itself, one that never succeeds fails by itself", async () => {
    const run = await start(`${endpoint.url}/parallel-failing`);
    assert.deepEqual((await value(run.url)).value, ["good", 3, "never"]);
    const count = (step) => endpoint.executions(step, run.runId).length;
    assert.deepEqual([count("good"), count("flaky"), count("bad")], [1, 3, 3]);
  });

  it("group.parallel in race mode: the run goes on with the winner, and does not wait for the loser", async () => {
    const run = await start(`${endpoint.url}/race-mode`);
    assert.deepEqual((await value(run.url)).value, { winner: "fast", then: "after fast" });
    assert.equal(endpoint.executions("then", run.runId).length, 1);
    assert.equal(endpoint.executions("fast", run.runId).length, 1);
    assert.equal(endpoint.executions("slow", run.runId).length, 1);
    const slow = of(run.runId, "end", "slow");
    assert.ok(!slow || of(run.runId, "start", "then").at < slow.at, "the step after the race did not wait");
  });

  it("group.parallel in race mode: a timer against an event, won by each", async () => {
    const event = `test/race-${process.pid}`;
    const timer = await start(`${endpoint.url}/race-timer?event=${event}-never`);
    const woken = await start(`${endpoint.url}/race-timer?event=${event}`);
    await engine.send(event, {});
    assert.deepEqual((await value(woken.url)).value, { winner: "event", then: "event" });
    assert.deepEqual((await value(timer.url)).value, { winner: "timer", then: "timer" });
    for (const { runId } of [timer, woken]) assert.equal(endpoint.executions("then", runId).length, 1);
    const asked = endpoint.lines().find(({ kind, runId }) => kind === "ack" && runId === timer.runId);
    assert.ok(of(timer.runId, "start", "then").at - asked.at < 3_000, "the step after the race did not wait");
  });

  it("Promise.race: the first to complete wins, wherever it stands in the list", async () => {
    const run = await start(`${endpoint.url}/race`);
    assert.deepEqual((await value(run.url)).value, { winner: "fast", then: "fast" });
    for (const step of ["slow", "middle", "fast", "then"]) {
      assert.equal(endpoint.executions(step, run.runId).length, 1, step);
    }
  });

  it("twenty races at once: every one of them is won by the first to complete", async () => {
    const runs = await Promise.all(Array.from({ length: 20 }, () => start(`${endpoint.url}/race`)));
    for (const run of runs) {
      const { winner } = (await value(run.url)).value;
      const ends = ["slow", "middle", "fast"].map((step) => of(run.runId, "end", step));
      const first = Math.min(...ends.map(({ at }) => at));
      const won = ends.find(({ step }) => step === winner).at;
      // Reports of steps that end at about the same time may overtake each other.
      assert.ok(won - first < 100, `${winner} won, ${won - first} ms after the first`);
    }
  });

  it("an ended race leaves no run behind", async () => {
    await eventually("all runs have ended", async () => {
      const response = await engine.call("/v1/runs?status=Running&limit=100");
      return (await response.json()).data.length === 0;
    });
  });
});
