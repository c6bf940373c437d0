// Endpoints on Bun, by the edge adapter.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { streamed } from "../harness/callbacks.mjs";
import { call } from "../harness/client.mjs";
import { Endpoint } from "../harness/endpoint.mjs";
import { Engine } from "../harness/engine.mjs";
import { pause } from "../harness/program.mjs";

describe("Bun with the edge adapter", { concurrency: 8 }, () => {
  let engine, endpoint;
  before(async () => {
    engine = await Engine.dev();
    endpoint = await Endpoint.start("bun", engine, { runtime: "bun" });
  });
  after(() => Promise.all([engine.stop(), endpoint.stop()]));

  it("the success path", async () => {
    const response = await call(`${endpoint.url}/ok`);
    assert.deepEqual([response.status, response.headers.get("x-own")], [201, "yes"]);
    const { a, run } = await response.json();
    assert.equal(a, 1);
    assert.equal((await engine.ended(run)).status, "Completed");
  });

  it("a sleep, the redirect to the proxy, and the outcome by it", async () => {
    const response = await call(`${endpoint.url}/slow?name=Ada`);
    assert.equal(response.status, 302);
    const location = response.headers.get("location");
    assert.ok(location.startsWith(`${endpoint.url}/wait?runId=`), location);
    const outcome = await fetch(location);
    assert.equal(outcome.headers.get("access-control-allow-origin"), "*");
    assert.deepEqual(await outcome.json(), { text: "hello Ada" });
    const runId = new URL(location).searchParams.get("runId");
    for (const step of ["before", "after"]) assert.equal(endpoint.executions(step, runId).length, 1);
  });

  it("retries, and a failure that its client sees", async () => {
    assert.deepEqual(await (await fetch(`${endpoint.url}/retries`)).json(), { tries: 3 });
    const failed = await fetch(`${endpoint.url}/fails`);
    assert.ok(failed.status >= 500);
    assert.match(await failed.text(), /it is over/);
  });

  it("an approval, matched against the request's query", async () => {
    const asked = fetch(`${endpoint.url}/approval?requestId=r1`);
    await pause(1_000);
    await engine.send("approval/received", { requestId: "r2", by: "Eve" });
    await engine.send("approval/received", { requestId: "r1", by: "Ada" });
    assert.deepEqual(await (await asked).json(), { id: "r1", by: "Ada" });
  });

  it("parallel steps, each once", async () => {
    const response = await fetch(`${endpoint.url}/parallel`);
    assert.deepEqual(await response.json(), ["x", "y", "z"]);
    for (const step of ["x", "y", "z"]) assert.equal(endpoint.executions(step).length, 1);
  });

  it("a stream that goes on after the first request", async () => {
    const { calls, response } = await streamed(`${endpoint.url}/stream`, ["first", "second"]);
    assert.deepEqual(calls, [
      ["data", "one", "first"],
      ["commit", "first"],
      ["data", "two", "second"],
      ["data", "three", "second"],
      ["commit", "second"],
    ]);
    assert.deepEqual([response.status, response.headers.get("x-own"), await response.text()], [202, "yes", "twothree"]);
  });

  it("POST with a JSON body", async () => {
    const body = '{ "n": 1.0 }';
    const init = { method: "POST", body, headers: { "content-type": "application/json" } };
    const response = await call(`${endpoint.url}/body`, init);
    assert.equal(response.status, 302);
    const outcome = await fetch(response.headers.get("location"));
    assert.deepEqual(await outcome.json(), { first: body, second: body });
  });
});
