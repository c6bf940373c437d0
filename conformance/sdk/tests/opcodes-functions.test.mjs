// Registered functions: invoked by steps, and started by events.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { start, value } from "../harness/client.mjs";
import { Endpoint } from "../harness/endpoint.mjs";
import { Engine } from "../harness/engine.mjs";
import { pause } from "../harness/program.mjs";

describe("opcodes: registered functions", { concurrency: 8 }, () => {
  let engine, endpoint, functions;
  before(async () => {
    engine = await Engine.dev();
    [endpoint, functions] = await Promise.all([Endpoint.start("opcodes", engine), Endpoint.start("functions", engine)]);
  });
  after(() => Promise.all([engine.stop(), endpoint.stop(), functions.stop()]));

  const registering = () => fetch(`${functions.url}/api/inngest`, { method: "PUT" });
  let registered;
  const register = () => (registered ??= registering());
  const invoke = async (id, more = {}) => {
    await register();
    return start(`${endpoint.url}/invoke?${new URLSearchParams({ id, n: "21", ...more })}`);
  };

  it("registration is accepted, also a second time", async () => {
    await register();
    const again = await registering();
    assert.equal(again.status, 200);
    assert.match((await again.json()).message, /Successfully registered/);
  });

  it("invoke: the function's result is the step's", async () => {
    const run = await invoke("double");
    assert.deepEqual(await value(run.url), { value: 42 });
  });

  it("invoke: a function that sleeps, and one that retries", async () => {
    const [resting, flaky] = await Promise.all([invoke("resting"), invoke("flaky")]);
    assert.deepEqual((await value(resting.url)).value, { n: 21, rested: true });
    const { tries } = (await value(flaky.url)).value;
    assert.equal(tries, 2);
    assert.equal(functions.executions("after-rest").length, 1);
  });

  it("invoke: a function that returns nothing gives null", async () => {
    const run = await invoke("nothing");
    assert.deepEqual(await value(run.url), { value: null });
  });

  it("invoke: a function's failure is the step's error", async () => {
    const run = await invoke("broken");
    const { error } = await value(run.url);
    assert.equal(error.stepId, "call");
    assert.match(error.message, /the function is broken/);
  });

  it("invoke: an unknown function is the step's error", async () => {
    const run = await invoke("no-such-function");
    const { error } = await value(run.url);
    assert.match(error.message, /could not find function with ID: functions-no-such-function/);
  });

  it("invoke: a timeout is the step's error", async () => {
    const run = await invoke("endless", { timeout: "2s" });
    const started = Date.now();
    const { error } = await value(run.url);
    assert.match(error.message, /Timed out waiting for invoked function to complete/);
    assert.equal(error.name, "InngestInvokeTimeoutError");
    assert.ok(Date.now() - started < 6_000);
  });

  it("invoke: two at the same time", async () => {
    await register();
    const run = await start(`${endpoint.url}/invoke-twice`);
    assert.deepEqual((await value(run.url)).value, [2, 4]);
  });

  it("inngest.send starts the functions of that event, once, with their steps kept", async () => {
    await register();
    const { ids } = await (await fetch(`${functions.url}/order`)).json();
    const done = await functions.line("the order was taken", ({ kind, id }) => kind === "ordered" && id === ids[0]);
    assert.equal(done.total, 6);
    assert.equal(done.name, "shop/order");
    assert.equal(functions.executions("total", done.runId).length, 1);
    const run = await engine.ended(done.runId);
    assert.equal(run.status, "Completed");
  });

  it("an event starts a function only where its expression holds", async () => {
    await register();
    await engine.send("shop/sized", { n: 5 });
    await engine.send("shop/sized", { n: 50 });
    await functions.line("a big order came", ({ kind, n }) => kind === "big" && n === 50);
    await pause(500);
    const came = functions.lines().filter(({ kind, n }) => kind === "big" && n !== 77);
    assert.deepEqual(came.map(({ n }) => n), [50]);
  });

  it("an event of a given id starts a function once", async () => {
    await register();
    await engine.send("shop/sized", { n: 77 }, { id: "order-77" });
    await engine.send("shop/sized", { n: 77 }, { id: "order-77" });
    await functions.line("it came", ({ kind, n }) => kind === "big" && n === 77);
    await pause(500);
    assert.equal(functions.lines().filter(({ kind, n }) => kind === "big" && n === 77).length, 1);
  });

  it("registered functions outlive a restart of the engine", async () => {
    const other = await Engine.dev();
    const own = await Endpoint.start("functions", other);
    const caller = await Endpoint.start("opcodes", other);
    try {
      await fetch(`${own.url}/api/inngest`, { method: "PUT" });
      await other.restart();
      const run = await start(`${caller.url}/invoke?id=double&n=4`);
      assert.deepEqual(await value(run.url), { value: 8 });
    } finally {
      await Promise.all([other.kill(), own.kill(), caller.kill()]);
    }
  });
});
