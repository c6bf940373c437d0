// Steps that run, events that steps send, and sleeps.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { call, output, start, value } from "../harness/client.mjs";
import { Endpoint } from "../harness/endpoint.mjs";
import { Engine } from "../harness/engine.mjs";
import { waits } from "../harness/phases.mjs";
import { hash } from "../harness/wire.mjs";

describe("opcodes: steps and sleeps", { concurrency: 8 }, () => {
  let engine, endpoint;
  before(async () => {
    engine = await Engine.dev();
    endpoint = await Endpoint.start("opcodes", engine);
  });
  after(() => Promise.all([engine.stop(), endpoint.stop()]));

  it("StepRun: every kind of JSON value comes back from the engine as it was", async () => {
    const run = await start(`${endpoint.url}/values`);
    const { got, remembered } = (await value(run.url)).value;
    const { long, ...rest } = got;
    assert.equal(long.length, 300_000);
    assert.deepEqual(rest, {
      nothing: null,
      null: null,
      false: false,
      zero: 0,
      fraction: 1.5,
      big: 9007199254740991,
      empty: "",
      text: 'ünïcödé \u2028 \u0000 "\\',
      list: [1, [2, [3]], {}],
      nested: { data: { error: { input: [] } } },
      looksLikeError: { error: "a value, not an error" },
      looksLikeData: { data: 1 },
    });
    assert.deepEqual(JSON.parse(remembered), got);
    assert.equal(endpoint.executions("value-text", run.runId).length, 1);
  });

  it("step.run with input, inline and as StepPlanned", async () => {
    const run = await start(`${endpoint.url}/input`);
    assert.deepEqual((await value(run.url)).value, { sum: 5, joined: "a-b", doubled: 42 });
    assert.equal(endpoint.executions("join", run.runId).length, 1);
    assert.equal(endpoint.executions("double", run.runId).length, 1);
  });

  it("repeated ids are steps of their own, before and after the first request", async () => {
    const run = await start(`${endpoint.url}/repeated`);
    assert.deepEqual((await value(run.url)).value, [0, 1, 2, 3, 4]);
    assert.equal(endpoint.executions("same", run.runId).length, 5);
    const { steps } = await engine.run(run.runId);
    assert.equal(steps.filter(({ id }) => id.startsWith("same")).length, 5);
  });

  it("sendEvent: gives ids, and wakes who waits", async () => {
    const name = `test/sent-${Date.now()}`;
    const waiting = await start(`${endpoint.url}/wait?event=${name}&timeout=20s&condition=async.data.n==3`);
    const sending = await start(`${endpoint.url}/send-event?name=${name}`);
    const { one, many } = (await value(sending.url)).value;
    assert.equal(one.ids.length, 1);
    assert.equal(many.ids.length, 2);
    for (const id of [...one.ids, ...many.ids]) assert.match(id, /^[0-9A-HJKMNP-TV-Z]{26}$/);
    const woken = (await value(waiting.url)).value;
    assert.deepEqual([woken.name, woken.id, woken.data], [name, many.ids[1], { n: 3 }]);
  });

  it("sendEvent: a given id is the event's id, and a second event of that id is a duplicate", async () => {
    const name = `test/id-${Date.now()}`;
    const waiting = await start(`${endpoint.url}/wait-twice?event=${name}`);
    await engine.send(name, { n: 1 }, { id: "order-1" });
    await engine.send(name, { n: 1 }, { id: "order-1" });
    await waits(engine, waiting.runId, "second");
    await engine.send(name, { n: 1 }, { id: "order-1" });
    await engine.send(name, { n: 2 }, { id: "order-2" });
    assert.deepEqual((await value(waiting.url)).value, [1, 2]);
  });

  for (const [duration, ms] of [["1s", 1_000], ["2500ms", 2_000], ["100ms", 1_000]]) {
    it(`sleep ${duration}: not early, and not much late`, async () => {
      const run = await start(`${endpoint.url}/sleep?duration=${duration}`);
      await value(run.url);
      const [before] = endpoint.executions("before", run.runId);
      const [after] = endpoint.executions("after", run.runId);
      const took = after.at - before.at;
      assert.ok(took >= ms, `${took} ms`);
      assert.ok(took < ms + 2_500, `${took} ms`);
    });
  }

  for (const duration of ["0s", "-5s", "1h30m"]) {
    it(`sleep ${duration}: the SDK tells no duration, and the run goes on at once`, async () => {
      const run = await start(`${endpoint.url}/sleep?duration=${duration}`);
      await value(run.url);
      assert.equal(endpoint.executions("after", run.runId).length, 1);
    });
  }

  it("sleepUntil: an instant to come is kept to, an instant gone by is now", async () => {
    const at = Date.now() + 2_300;
    const [coming, gone] = await Promise.all([
      start(`${endpoint.url}/sleep-until?at=${at}`),
      start(`${endpoint.url}/sleep-until?at=${Date.now() - 86_400_000}`),
    ]);
    await Promise.all([value(coming.url), value(gone.url)]);
    const [woken] = endpoint.executions("after", coming.runId);
    assert.ok(woken.at >= at, `${at - woken.at} ms early`);
    assert.ok(woken.at < at + 1_500, `${woken.at - at} ms late`);
    assert.ok(endpoint.executions("after", gone.runId)[0].at < at);
  });

  it("sleepUntil: something that is no date fails in the handler", async () => {
    const response = await call(`${endpoint.url}/sleep-until-text?at=soon`);
    const failed = response.status === 302 ? await output(response.headers.get("location")) : response;
    assert.ok(failed.status >= 400, `${failed.status}`);
  });

  it("a sleep that is too long is the step's error, and the request is not refused", async () => {
    const run = await start(`${endpoint.url}/sleep-until?at=${Date.now() + 400 * 86_400_000}`);
    const { error } = await value(run.url);
    assert.equal(error.stepId, "pause");
    assert.equal(typeof error.message, "string");
    const long = await start(`${endpoint.url}/sleep?duration=800d`);
    assert.equal((await value(long.url)).error.stepId, "pause");
  });

  it("a sleep for ever is one of 366 days", async () => {
    const run = await start(`${endpoint.url}/sleep-ms?ms=Infinity`);
    const { status, steps } = await engine.run(run.runId);
    assert.equal(status, "Running");
    const due = Date.parse(steps.find(({ id }) => id === "pause").due_at);
    assert.ok(Math.abs(due - Date.now() - 366 * 86_400_000) < 60_000, new Date(due).toISOString());
  });

  it("a run of many steps: each executes once, and the run's steps are listed", async () => {
    const run = await start(`${endpoint.url}/steps?n=40`);
    assert.equal((await value(run.url)).value, 780);
    for (let i = 0; i < 40; i += 1) assert.equal(endpoint.executions(`step-${i}`, run.runId).length, 1);
    const memo = endpoint.lines().filter(({ kind, runId }) => kind === "memo" && runId === run.runId);
    const last = memo.at(-1).ids;
    const order = ["first", "pause", ...Array.from({ length: 40 }, (_, i) => `step-${i}`)];
    assert.deepEqual(last, order.map(hash), "remembered in the order of completion");
    assert.equal((await engine.run(run.runId)).steps.length, 42);
  });
});
