// Better than the original: bodies, matches against one's own request, and a query parameter named stepId.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { call, output, start, value } from "../harness/client.mjs";
import { Endpoint } from "../harness/endpoint.mjs";
import { Engine } from "../harness/engine.mjs";

let names = 0;
const fresh = () => `test/own-${process.pid}-${(names += 1)}`;

describe("better: requests", { concurrency: 8 }, () => {
  let engine, endpoint;
  before(async () => {
    engine = await Engine.dev();
    endpoint = await Endpoint.start("requests", engine);
  });
  after(() => Promise.all([engine.stop(), endpoint.stop()]));

  const post = (body, type = "application/json", method = "POST") => ({ method, body, headers: { "content-type": type } });

  const bodies = [
    ["an object", '{"b": 1,   "a": [1.0, 2e1, "ü"], "nested": {"z": null}}'],
    ["an array", "[ 1, 2 , 3 ]"],
    ["a string", '"abc"'],
    ["a number", " 12.50 "],
    ["a large object", JSON.stringify({ text: "x".repeat(200_000) })],
  ];
  for (const [name, body] of bodies) {
    it(`POST with ${name} as JSON: the handler sees the same bytes in the first request and after it`, async () => {
      const run = await start(`${endpoint.url}/body`, post(body));
      assert.deepEqual(await value(run.url), { first: { method: "POST", body }, second: { method: "POST", body } });
      assert.equal(endpoint.executions("first", run.runId).length, 1);
    });
  }

  it("PUT and PATCH with JSON, DELETE without a body", async () => {
    for (const [method, body] of [["PUT", '{"a":1}'], ["PATCH", '{"a":1}'], ["DELETE", undefined]]) {
      const run = await start(`${endpoint.url}/body`, body ? post(body, "application/json", method) : { method });
      const { first, second } = await value(run.url);
      assert.deepEqual([first, second], [{ method, body: body ?? "" }, { method, body: body ?? "" }]);
    }
  });

  it("POST with text is accepted, answered at once, and carried through a sleep", async () => {
    for (const [type, body] of [["text/plain", "milk & honey\nü"], ["application/x-www-form-urlencoded", "a=1&b=%20"]]) {
      const response = await call(`${endpoint.url}/body-at-once`, post(body, type));
      assert.deepEqual([response.status, await response.json()], [201, body]);
      const run = await start(`${endpoint.url}/body`, post(body, type));
      const { first, second } = await value(run.url);
      // The SDK cannot read it again (it parses every POST), so the engine keeps it back; the first step has it.
      assert.equal(first.body, body);
      assert.ok([body, ""].includes(second.body));
    }
  });

  it("match: against a parameter of the own query", async () => {
    const event = fresh();
    const run = await start(`${endpoint.url}/match?event=${event}&userId=u%201`);
    await engine.send(event, { userId: "u 2" });
    await engine.send(event, { other: true });
    await engine.send(event, { userId: "u 1", right: true });
    assert.deepEqual(await value(run.url), { userId: "u 1", right: true });
  });

  it("match: against a member of the own JSON body, also deep within", async () => {
    const event = fresh();
    const run = await start(`${endpoint.url}/match?event=${event}&match=data.order.id`, post('{"order":{"id":7}}'));
    await engine.send(event, { order: { id: 8 } });
    await engine.send(event, {});
    await engine.send(event, { order: { id: 7 }, right: true });
    assert.deepEqual(await value(run.url), { order: { id: 7 }, right: true });
  });

  it("match: a parameter that neither has matches an event without it, as in the original", async () => {
    const event = fresh();
    const run = await start(`${endpoint.url}/match?event=${event}`);
    await engine.send(event, { userId: "somebody" });
    await engine.send(event, { nobody: true });
    assert.deepEqual(await value(run.url), { nobody: true });
  });

  it("if: the original keys of the request's event stay, and query and json stand beside them", async () => {
    const own = "event.data.path == '/if-own' && event.data.query.n == '5' && async.data.n == event.data.json.n";
    const event = fresh();
    const query = new URLSearchParams({ event, if: own, n: "5" });
    const run = await start(`${endpoint.url}/if-own?${query}`, post('{"n": 6, "path": "/not-this"}'));
    await engine.send(event, { n: 5 });
    await engine.send(event, { n: 6 });
    assert.deepEqual(await value(run.url), { n: 6 });
  });

  it("a query parameter named stepId does no harm", async () => {
    const run = await start(`${endpoint.url}/query?a=1&stepId=mine&b=2`);
    const query = await value(run.url);
    assert.deepEqual(query.filter(([name]) => name !== "stepId"), [["a", "1"], ["b", "2"]]);
    assert.equal(query.findLast(([name]) => name === "stepId")[1], "mine");
    assert.equal(endpoint.executions("read", run.runId).length, 1);
  });

  it("a query is the same after the first request: order, repetition, escapes", async () => {
    const run = await start(`${endpoint.url}/query?b=2&a=1&a=%26%3D%20x&empty=&fnId=f&ü=ö`);
    assert.deepEqual(await value(run.url), [["b", "2"], ["a", "1"], ["a", "&= x"], ["empty", ""], ["fnId", "f"], ["ü", "ö"]]);
  });

  it("re-entries carry what the SDK needs: a signature that is not empty, a run id, a version", async () => {
    const run = await start(`${endpoint.url}/several`);
    await output(run.url);
    const calls = endpoint.lines().filter(({ kind, runId }) => kind === "request" && runId === run.runId);
    assert.ok(calls.length >= 3);
    for (const { headers, method } of calls) {
      assert.equal(method, "GET");
      assert.match(headers["x-inngest-signature"], /^t=\d+&s=[0-9a-f]{64}$/);
      assert.equal(headers["x-inngest-req-version"], "2");
    }
  });
});
