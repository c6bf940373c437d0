// The engine is killed with `kill -9` while operations other than steps and sleeps are under way.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { call, output, start, value } from "../harness/client.mjs";
import { Endpoint } from "../harness/endpoint.mjs";
import { Engine } from "../harness/engine.mjs";
import { fakeServer, json } from "../harness/fakes.mjs";
import { assertStepsOnce } from "../harness/invariants.mjs";
import { pause } from "../harness/program.mjs";
import { followStream } from "../harness/sse.mjs";
import * as wire from "../harness/wire.mjs";

/** An engine, the endpoints of opcodes.mjs, and registered functions. */
async function having(test, flags = []) {
  const engine = await Engine.dev({ flags });
  const [endpoint, functions] = await Promise.all([Endpoint.start("opcodes", engine), Endpoint.start("functions", engine)]);
  try {
    await fetch(`${functions.url}/api/inngest`, { method: "PUT" });
    await test({ engine, endpoint, functions });
    assertStepsOnce(endpoint.lines(), engine.killedAt);
    assertStepsOnce(functions.lines(), engine.killedAt);
  } catch (error) {
    throw engine.blame(error);
  } finally {
    await Promise.all([engine.kill(), endpoint.kill(), functions.kill()]);
  }
}

describe("the engine is killed, operations", { concurrency: 3 }, () => {
  it("while an invoked function sleeps", () =>
    having(async ({ engine, endpoint, functions }) => {
      const run = await start(`${endpoint.url}/invoke?id=resting&n=5`);
      await functions.line("it rests", ({ kind, step }) => kind === "end" && step === "before-rest");
      await pause(200);
      await engine.restart(200);
      assert.deepEqual(await value(run.url), { value: { n: 5, rested: true } });
      assert.equal(functions.executions("before-rest").length, 1);
      assert.equal(functions.executions("after-rest").length, 1);
    }));

  it("right after an invoke was acknowledged: the function runs once", () =>
    having(async ({ engine, endpoint, functions }) => {
      const run = await start(`${endpoint.url}/invoke?id=resting&n=6`);
      await engine.restart();
      assert.deepEqual(await value(run.url), { value: { n: 6, rested: true } });
      assert.equal(functions.executions("after-rest").length, 1);
    }));

  it("while an invoke's timeout runs", () =>
    having(async ({ engine, endpoint }) => {
      const run = await start(`${endpoint.url}/invoke?id=endless&n=1&timeout=2s`);
      await engine.restart(300);
      assert.equal((await value(run.url)).error.name, "InngestInvokeTimeoutError");
    }));

  it("while a run waits for a signal", () =>
    having(async ({ engine, endpoint }) => {
      const run = await start(`${endpoint.url}/wait-signal?signal=s1&timeout=1h`);
      await engine.restart(200);
      const response = await engine.post("/v1/signals", { signal: "s1", data: 3 });
      assert.deepEqual((await response.json()).data, { run_id: run.runId });
      await engine.restart();
      assert.deepEqual((await value(run.url)).value, { signal: "s1", data: 3 });
      assert.equal((await engine.post("/v1/signals", { signal: "s1", data: 4 })).status, 404);
    }));

  it("while a wait's timeout runs", () =>
    having(async ({ engine, endpoint }) => {
      const started = Date.now();
      const run = await start(`${endpoint.url}/wait?event=test/none&timeout=2s`);
      await engine.restart(300);
      assert.equal((await value(run.url)).value, null);
      assert.ok(endpoint.executions("woken")[0].at - started >= 2_000);
    }));

  it("while a race is open, and once it is won", () =>
    having(async ({ engine, endpoint }) => {
      const run = await start(`${endpoint.url}/race-mode`);
      await endpoint.line("the race is won", ({ kind, step }) => kind === "end" && step === "fast");
      await pause(500);
      await engine.restart(100);
      assert.deepEqual((await value(run.url)).value, { winner: "fast", then: "after fast" });
      // The step after the race may have been under way at the kill; that it ran twice for no other reason is checked for
      // every run.
      assert.equal(endpoint.executions("fast", run.runId).length, 1);
    }));

  it("while a timer races an event", () =>
    having(async ({ engine, endpoint }) => {
      const run = await start(`${endpoint.url}/race-timer?event=test/race-kill&timer=8s`);
      await engine.restart(100);
      await engine.send("test/race-kill", {});
      assert.deepEqual((await value(run.url)).value, { winner: "event", then: "event" });
    }));

  it("while it waits for a model's answer: it asks again", () =>
    having(async ({ engine, endpoint }) => {
      let calls = 0;
      const model = await fakeServer((_request, response) => {
        if ((calls += 1) > 1) json(response, { answer: calls });
      });
      try {
        const run = await start(`${endpoint.url}/infer?base=${model.url}`);
        await pause(300);
        assert.equal(calls, 1);
        await engine.restart(100);
        assert.deepEqual(await value(run.url), { value: { answer: 2 } });
      } finally {
        model.close();
      }
    }));

  it("while it waits for the answer to a fetch: it asks again", () =>
    having(async ({ engine, endpoint }) => {
      let calls = 0;
      const server = await fakeServer((_request, response) => {
        if ((calls += 1) > 1) response.end("at last");
      });
      try {
        const run = await start(`${endpoint.url}/fetch?url=${server.url}&method=GET`);
        await pause(300);
        await engine.restart(100);
        assert.equal((await value(run.url)).value.text, "at last");
        assert.equal(calls, 2);
      } finally {
        server.close();
      }
    }));

  it("while a function that an event started sleeps; and the event's id is known afterwards", () =>
    having(async ({ engine, functions }) => {
      await engine.send("shop/order", { items: [4, 5] }, { id: "order-9" });
      await functions.line("it began", ({ kind, step }) => kind === "end" && step === "total");
      await pause(200);
      await engine.restart(200);
      await engine.send("shop/order", { items: [4, 5] }, { id: "order-9" });
      const ordered = await functions.line("it ended", ({ kind }) => kind === "ordered");
      assert.equal(ordered.total, 9);
      await pause(1_500);
      assert.equal(functions.executions("total").length, 1);
      assert.equal(functions.lines().filter(({ kind }) => kind === "ordered").length, 1);
    }));

  it("right after an event that starts a function was acknowledged: it runs once", () =>
    having(async ({ engine, functions }) => {
      await engine.send("shop/order", { items: [1] });
      await engine.restart();
      await functions.line("it ended", ({ kind }) => kind === "ordered");
      assert.equal(functions.lines().filter(({ kind }) => kind === "ordered").length, 1);
    }));

  it("after a cancel: the run stays cancelled, and its stream ended", () =>
    having(async ({ engine, endpoint }) => {
      const run = await start(`${endpoint.url}/wait?event=test/cancelled&timeout=1h`);
      const body = wire.firstCheckpoint(wire.ulid(), "http://127.0.0.1:9/", [wire.sleeping("z", "1h")]);
      const { data } = await (await engine.post("/v1/checkpoint", body)).json();
      for (const id of [run.runId, data.run_id]) await engine.call(`/v1/runs/${id}`, { method: "DELETE" });
      await engine.restart();
      await engine.send("test/cancelled", {});
      assert.equal((await engine.run(run.runId)).status, "Cancelled");
      assert.ok((await output(run.url)).status >= 400);
      const { frames } = await followStream(wire.streamUrl(engine, data.realtime_token), { within: 5_000 });
      assert.equal(frames.at(-1).data.status, "failed");
      assert.equal(endpoint.executions("woken").length, 0);
    }));

  it("after a run's end: its outcome stays, though its end is reported again", () =>
    having(async ({ engine, endpoint }) => {
      const answer = await (await call(`${endpoint.url}/send-signal?signal=nobody`)).json();
      assert.deepEqual(answer, { value: {} });
      const { runId } = endpoint.lines().find(({ kind }) => kind === "ack");
      const first = (await engine.ended(runId)).output;
      await engine.restart();
      const again = wire.laterCheckpoint(runId, [wire.complete("another end")]);
      assert.equal((await engine.post(`/v1/checkpoint/${runId}/steps`, again)).status, 200);
      assert.deepEqual((await engine.run(runId)).output, first);
    }));

  it("a first request that is slower than its lease still has one outcome", () =>
    having(
      async ({ engine, endpoint }) => {
        const answer = await call(`${endpoint.url}/slow-first`);
        assert.equal(answer.status, 200);
        const direct = await answer.json();
        const { runId, token } = endpoint.lines().find(({ kind }) => kind === "ack");
        assert.equal((await engine.ended(runId)).status, "Completed");
        const url = wire.outputUrl(engine, runId, token);
        const first = await output(url);
        assert.deepEqual(first.json(), direct);
        await pause(1_500);
        assert.equal((await output(url)).text, first.text);
      },
      ["--first-request-lease", "1s"],
    ));
});
