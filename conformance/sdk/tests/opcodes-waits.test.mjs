// Waits for events and signals.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { start, value } from "../harness/client.mjs";
import { Endpoint } from "../harness/endpoint.mjs";
import { Engine } from "../harness/engine.mjs";
import { waits } from "../harness/phases.mjs";
import { pause } from "../harness/program.mjs";

let names = 0;
const fresh = (kind) => `test/${kind}-${process.pid}-${(names += 1)}`;

describe("opcodes: events and signals", { concurrency: 8 }, () => {
  let engine, endpoint;
  before(async () => {
    engine = await Engine.dev();
    endpoint = await Endpoint.start("opcodes", engine);
  });
  after(() => Promise.all([engine.stop(), endpoint.stop()]));

  const wait = (event, more = {}) =>
    start(`${endpoint.url}/wait?${new URLSearchParams({ event, timeout: "30s", ...more })}`);

  it("waitForEvent: the run is given the event with its name, id, data, time and further members", async () => {
    const event = fresh("whole");
    const run = await wait(event);
    const ts = Date.now() - 5_000;
    const id = await engine.send(event, { deep: { list: [1] } }, { user: { id: "u1" }, v: "2", ts });
    const got = (await value(run.url)).value;
    const { user, v, ...rest } = got;
    assert.deepEqual(rest, { name: event, id, data: { deep: { list: [1] } }, ts });
    assert.deepEqual([user, v], [{ id: "u1" }, "2"]);
    assert.equal(endpoint.executions("woken", run.runId).length, 1);
  });

  it("waitForEvent: an event from before the wait does not wake it, one event wakes many", async () => {
    const event = fresh("many");
    await engine.send(event, { n: "early" });
    const runs = await Promise.all([1, 2, 3].map(() => wait(event)));
    await pause(300);
    for (const run of runs) assert.equal((await engine.run(run.runId)).status, "Running");
    await engine.send(event, { n: "right" });
    for (const run of runs) assert.deepEqual((await value(run.url)).value.data, { n: "right" });
  });

  it("waitForEvent: an event that came after the run began and before it waited is not missed", async () => {
    const event = fresh("between");
    const run = await start(`${endpoint.url}/wait-late?event=${event}`);
    await engine.send(event, { n: 1 });
    assert.deepEqual((await value(run.url)).value, { n: 1 });
  });

  it("waitForEvent: the first event wins, and another name wakes nobody", async () => {
    const event = fresh("first");
    const run = await wait(event);
    await engine.send(`${event}-other`, { n: 0 });
    await engine.send(event, { n: 1 });
    await engine.send(event, { n: 2 });
    assert.deepEqual((await value(run.url)).value.data, { n: 1 });
  });

  it("waitForEvent: an event that comes while the first request is still under way wakes the run", async () => {
    const event = fresh("sibling");
    const run = await start(`${endpoint.url}/ask-and-wait?event=${event}`);
    assert.deepEqual((await value(run.url)).value, { by: "a sibling" });
  });

  it("waitForEvent: two waits one after the other take two events", async () => {
    const event = fresh("twice");
    const run = await start(`${endpoint.url}/wait-twice?event=${event}`);
    await engine.send(event, { n: 1 });
    await waits(engine, run.runId, "second");
    await engine.send(event, { n: 2 });
    assert.deepEqual((await value(run.url)).value, [1, 2]);
  });

  it("waitForEvent: two waits at the same time take the same event, a later one does not take it again", async () => {
    const event = fresh("both");
    const run = await start(`${endpoint.url}/wait-both?event=${event}`);
    await engine.send(event, { n: 1 });
    assert.deepEqual((await value(run.url)).value, [1, 1, null]);
  });

  const conditions = [
    ["async.data.n == 3", { n: 2 }, { n: 3 }],
    ["async.data.n > 2.5", { n: 2 }, { n: 3 }],
    ["async.data.user.id == 'ada' && async.data.n >= 1", { user: { id: "ada" } }, { user: { id: "ada" }, n: 1 }],
    ["async.data.missing == null && async.data.n == 1", { n: 1, missing: 0 }, { n: 1 }],
    ["async.data.tags.exists(t, t == 'b')", { tags: ["a"] }, { tags: ["a", "b"] }],
    ["event.data.method == 'GET' && async.data.n == 1", { n: 0 }, { n: 1 }],
    ["async.data.ok", { ok: 0 }, { ok: true }],
    ["async.data.a.b.c == 'deep'", { a: 1 }, { a: { b: { c: "deep" } } }],
    ["async.data.n in [1, 2]", { n: 3 }, { n: 2 }],
  ];
  for (const [condition, not, yes] of conditions) {
    it(`waitForEvent if: ${condition}`, async () => {
      const event = fresh("if");
      const run = await wait(event, { condition });
      await engine.send(event, not);
      await engine.send(event, yes);
      assert.deepEqual((await value(run.url)).value.data, yes);
    });
  }

  it("waitForEvent if: an expression that cannot be read is the step's error, and the request is not refused", async () => {
    for (const condition of ["async.data.n ==", "((((", "'unclosed", "x".repeat(5_000)]) {
      const run = await wait(fresh("bad"), { condition });
      const { error } = await value(run.url);
      assert.equal(error?.stepId, "wait", condition.slice(0, 20));
    }
  });

  it("waitForEvent match: against the request's query", async () => {
    const event = fresh("match");
    const run = await start(`${endpoint.url}/wait-match?event=${event}&match=data.userId&userId=u7&timeout=30s`);
    await engine.send(event, { userId: "u8" });
    await engine.send(event, {});
    await engine.send(event, { userId: "u7" });
    assert.equal((await value(run.url)).value.data.userId, "u7");
  });

  it("waitForEvent: a timeout gives null, not early", async () => {
    const started = Date.now();
    const run = await wait(fresh("never"), { timeout: "2s" });
    assert.equal((await value(run.url)).value, null);
    const took = endpoint.executions("woken", run.runId)[0].at - started;
    assert.ok(took >= 2_000 && took < 4_500, `${took} ms`);
  });

  it("waitForEvent: a timeout of nothing is over at once", async () => {
    const run = await wait(fresh("now"), { timeout: "0s" });
    assert.equal((await value(run.url)).value, null);
  });

  it("waitForEvent: the event after the timeout comes too late", async () => {
    const event = fresh("late");
    const run = await wait(event, { timeout: "1s" });
    assert.equal((await value(run.url)).value, null);
    await engine.send(event, { n: 1 });
    assert.equal((await value(run.url)).value, null);
  });

  it("waitForEvent: a timeout of more than 366 days is the step's error", async () => {
    const run = await wait(fresh("long"), { timeout: "400d" });
    assert.equal((await value(run.url)).error.stepId, "wait");
  });

  const waitSignal = (signal, more = {}) =>
    start(`${endpoint.url}/wait-signal?${new URLSearchParams({ signal, timeout: "30s", ...more })}`);

  it("waitForSignal: sendSignal of another run wakes it, and is told which run that was", async () => {
    const signal = fresh("signal");
    const waiting = await waitSignal(signal);
    const sent = await (await fetch(`${endpoint.url}/send-signal?signal=${signal}`)).json();
    assert.deepEqual(sent.value, { runId: waiting.runId });
    assert.deepEqual((await value(waiting.url)).value, { signal, data: { ok: true } });
  });

  it("sendSignal: with nobody waiting gives no run", async () => {
    const sent = await (await fetch(`${endpoint.url}/send-signal?signal=${fresh("nobody")}`)).json();
    assert.deepEqual(sent, { value: {} });
    const response = await engine.post("/v1/signals", { signal: fresh("nobody"), data: 1 });
    assert.equal(response.status, 404);
  });

  it("waitForSignal: a timeout gives null", async () => {
    const run = await waitSignal(fresh("signal"), { timeout: "1s" });
    assert.equal((await value(run.url)).value, null);
  });

  it("waitForSignal: a signal is taken once", async () => {
    const signal = fresh("signal");
    const run = await waitSignal(signal);
    assert.equal((await engine.post("/v1/signals", { signal, data: 1 })).status, 200);
    assert.equal((await engine.post("/v1/signals", { signal, data: 2 })).status, 404);
    assert.deepEqual((await value(run.url)).value, { signal, data: 1 });
  });

  it("waitForSignal conflict fail: the second waiter's step fails, the first is woken", async () => {
    const signal = fresh("signal");
    const first = await waitSignal(signal, { conflict: "fail" });
    const second = await waitSignal(signal, { conflict: "fail" });
    assert.equal((await value(second.url)).error.stepId, "wait");
    assert.equal((await engine.post("/v1/signals", { signal, data: 5 })).status, 200);
    assert.deepEqual((await value(first.url)).value, { signal, data: 5 });
  });

  it("waitForSignal conflict replace: the second waiter is woken", async () => {
    const signal = fresh("signal");
    const first = await waitSignal(signal, { conflict: "replace", timeout: "3s" });
    const second = await waitSignal(signal, { conflict: "replace" });
    assert.equal((await engine.post("/v1/signals", { signal, data: 6 })).status, 200);
    assert.deepEqual((await value(second.url)).value, { signal, data: 6 });
    assert.equal((await value(first.url)).value ?? null, null);
  });
});
