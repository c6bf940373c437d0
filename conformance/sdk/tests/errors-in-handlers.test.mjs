// What handlers throw: in steps and outside of them, for good and for a while.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { call, output, start, value } from "../harness/client.mjs";
import { Endpoint } from "../harness/endpoint.mjs";
import { Engine } from "../harness/engine.mjs";

describe("errors in handlers", { concurrency: 8 }, () => {
  let engine, endpoint;
  before(async () => {
    engine = await Engine.dev();
    endpoint = await Endpoint.start("features", engine);
  });
  after(() => Promise.all([engine.stop(), endpoint.stop()]));

  it("a step that fails twice succeeds at its third try, and its client never sees the failures", async () => {
    const run = await start(`${endpoint.url}/recovers`);
    assert.deepEqual(await value(run.url), { tries: 3 });
    const [first, second, third, ...more] = endpoint.executions("flaky", run.runId);
    assert.deepEqual(more, []);
    assert.ok(second.at - first.at >= 1_000, "the first back-off");
    assert.ok(third.at - second.at >= 1_000, "the second back-off");
    const { steps } = await engine.run(run.runId);
    assert.deepEqual(steps.map(({ id, attempts }) => [id, attempts]), [["flaky", 3]]);
  });

  it("NonRetriableError: the step executes once, the run fails, its output is a 5xx with the error", async () => {
    const run = await start(`${endpoint.url}/not-retriable`);
    const { status, headers, json } = await output(run.url);
    assert.ok(status >= 500, `${status}`);
    assert.match(headers.get("content-type"), /^application\/json/);
    assert.equal(json().error.message, "there is no such user");
    assert.equal(endpoint.executions("hopeless", run.runId).length, 1);
    const kept = await engine.run(run.runId);
    assert.equal(kept.status, "Failed");
    assert.match(JSON.stringify(kept.output), /there is no such user/);
  });

  it("NonRetriableError: caught, and the handler goes on with further steps", async () => {
    const run = await start(`${endpoint.url}/caught`);
    const { error, after: went } = await value(run.url);
    assert.deepEqual([error.message, error.stepId, went], ["there is no such user", "hopeless", "went on"]);
    assert.equal(endpoint.executions("hopeless", run.runId).length, 1);
    assert.equal(endpoint.executions("after", run.runId).length, 1);
  });

  it("RetryAfterError: the step is not tried again before its time", async () => {
    const run = await start(`${endpoint.url}/retry-after`);
    assert.deepEqual(await value(run.url), { tries: 2 });
    const [first, second] = endpoint.executions("limited", run.runId);
    assert.ok(second.at - first.at >= 3_000, `${second.at - first.at} ms`);
    assert.ok(second.at - first.at < 6_000, `${second.at - first.at} ms`);
  });

  it("an error outside of steps is retried with the steps remembered, then the run fails", async () => {
    const response = await call(`${endpoint.url}/outside`);
    assert.equal(response.status, 302);
    const url = response.headers.get("location");
    const { status, json } = await output(url);
    assert.ok(status >= 500, `${status}`);
    assert.match(JSON.stringify(json()), /outside of steps/);
    const runId = url.match(/runs\/(\w+)\//)[1];
    assert.equal(endpoint.lines().filter((line) => line.kind === "outside" && line.runId === runId).length, 3);
    assert.equal(endpoint.executions("inside", runId).length, 1);
    assert.equal((await engine.run(runId)).status, "Failed");
  });

  it("an error outside of steps that passes does not fail the run", async () => {
    const run = await start(`${endpoint.url}/outside-recovers`);
    assert.deepEqual(await value(run.url), { n: 1, tries: 3 });
    assert.equal(endpoint.executions("inside", run.runId).length, 1);
  });

  it("retries that are exhausted end the run, and the client is not left waiting", async () => {
    const run = await start(`${endpoint.url}/retries-2`);
    const { status } = await output(run.url);
    assert.equal(status, 200);
    assert.equal((await engine.ended(run.runId)).status, "Completed");
  });
});
