// The options of the endpoint adapter, the ways a client is sent on, the proxy, and Node's servers.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { call, output, start, value } from "../harness/client.mjs";
import { Endpoint } from "../harness/endpoint.mjs";
import { Engine } from "../harness/engine.mjs";
import { freePort } from "../harness/program.mjs";

describe("options, redirects, tokens and the proxy", { concurrency: 8 }, () => {
  let engine, endpoint, port2;
  before(async () => {
    engine = await Engine.dev();
    port2 = await freePort();
    endpoint = await Endpoint.start("features", engine, { env: { PORT2: `${port2}` } });
  });
  after(() => Promise.all([engine.stop(), endpoint.stop()]));

  it("serveEndpoint: the success path answers with the handler's own status, headers and body", async () => {
    const response = await call(`${endpoint.url}/ok?q=milk`);
    assert.equal(response.status, 201);
    assert.equal(response.headers.get("x-own"), "yes");
    const { run, ...rest } = await response.json();
    assert.deepEqual(rest, { a: { query: "milk" }, b: "MILK" });
    const kept = await engine.ended(run);
    assert.equal(kept.status, "Completed");
    assert.ok(Date.parse(kept.run_started_at) <= Date.parse(kept.ended_at));
    assert.deepEqual(kept.steps.map(({ id }) => id), ["a", "b"]);
  });

  it("a plain value is the answer as JSON and the run's output", async () => {
    const answer = await (await call(`${endpoint.url}/plain`)).json();
    assert.equal(answer.a, 1);
    const kept = await engine.ended(answer.run);
    assert.equal(kept.status, "Completed");
  });

  it("an endpoint without steps answers by itself", async () => {
    const response = await call(`${endpoint.url}/stepless`);
    assert.deepEqual([response.status, await response.text()], [202, "nothing to keep"]);
  });

  it("createEndpointServer serves an endpoint by itself", async () => {
    const response = await call(`http://127.0.0.1:${port2}/any/path`);
    assert.deepEqual([response.status, await response.json()], [200, { a: "of its own server" }]);
  });

  const retries = { "retries-0": 1, "retries-1": 2, "retries-2": 3, "retries-default": 4, "retries-5": 6 };
  for (const [route, executions] of Object.entries(retries)) {
    it(`retries: /${route} executes a failing step ${executions} times, then the handler catches`, async () => {
      const run = await start(`${endpoint.url}/${route}`);
      const caught = await value(run.url);
      assert.deepEqual(caught, { name: "Error", message: `try ${executions}`, stepId: "risky" });
      assert.equal(endpoint.executions("risky", run.runId).length, executions);
    });
  }

  it("functionId: names the endpoint; by default it is the method and the path", async () => {
    const named = await start(`${endpoint.url}/named?name=a`);
    const unnamed = await start(`${endpoint.url}/slow?name=a`);
    assert.equal((await engine.run(named.runId)).endpoint, "my-checkout");
    assert.equal((await engine.run(unnamed.runId)).endpoint, "GET /slow");
    await Promise.all([value(named.url), value(unnamed.url)]);
  });

  it("redirect: the client is sent to the engine, which answers when the run has ended", async () => {
    const started = Date.now();
    const run = await start(`${endpoint.url}/slow?name=Ada`);
    assert.ok(run.url.startsWith(`${engine.url}/v1/http/runs/${run.runId}/output?token=`), run.url);
    const { status, headers, json } = await output(run.url);
    assert.equal(status, 200);
    assert.match(headers.get("content-type"), /^application\/json/);
    assert.equal(headers.get("access-control-allow-origin"), "*");
    // The SDK hands over the text of a Response as a JSON string.
    assert.equal(json(), JSON.stringify({ after: "hello Ada" }));
    assert.ok(Date.now() - started >= 1_000, "the sleep was awaited");
    assert.equal(endpoint.executions("before", run.runId).length, 1);
    assert.equal(endpoint.executions("after", run.runId).length, 1);
  });

  it("redirect: a client that follows redirects gets the outcome by one fetch", async () => {
    const response = await fetch(`${endpoint.url}/slow?name=Bob`);
    assert.equal(response.status, 200);
    assert.equal(await response.json(), JSON.stringify({ after: "hello Bob" }));
  });

  it("asyncResponse token: the client gets the run's id and token, which open the outcome", async () => {
    const response = await call(`${endpoint.url}/token?name=Cy`);
    assert.equal(response.status, 200);
    const { run_id, token } = JSON.parse(await response.text());
    assert.match(run_id, /^[0-9A-HJKMNP-TV-Z]{26}$/);
    assert.match(token, /^[\w.~-]+$/);
    for (const path of ["v1/http/runs", "v1/checkpoint"]) {
      assert.deepEqual(await value(`${engine.url}/${path}/${run_id}/output?token=${token}`), { after: "hello Cy" });
    }
  });

  it("asyncRedirectUrl as a string: resolved against the request's origin, with runId and token", async () => {
    const response = await call(`${endpoint.url}/redirect-string?name=Di&own=gone`);
    const location = new URL(response.headers.get("location"));
    assert.equal(response.status, 302);
    assert.equal(location.origin + location.pathname, `${endpoint.url}/wait`);
    assert.deepEqual([...location.searchParams.keys()], ["kept", "runId", "token"]);
    const elsewhere = await call(`${endpoint.url}/redirect-elsewhere?name=Di`);
    assert.match(elsewhere.headers.get("location"), /^https:\/\/app\.example\.com\/poll\?runId=\w{26}&token=/);
  });

  it("asyncRedirectUrl as a function: its value is used as it is", async () => {
    const response = await call(`${endpoint.url}/redirect-function?name=Ed`);
    const [, runId, token] = /^\/done\/(\w{26})\?t=(.+)$/.exec(response.headers.get("location"));
    assert.deepEqual(await value(`${engine.url}/v1/http/runs/${runId}/output?token=${token}`), { after: "hello Ed" });
  });

  it("endpointProxy: gives a handler's Response through the endpoint's own origin", async () => {
    const response = await fetch(`${endpoint.url}/proxied?name=Flo`);
    assert.ok(response.url.startsWith(`${endpoint.url}/wait?runId=`), response.url);
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("access-control-allow-origin"), "*");
    assert.deepEqual(await response.json(), { after: "hello Flo" });
  });

  it("endpointProxy: text arrives as it is, a value as JSON", async () => {
    assert.equal(await (await fetch(`${endpoint.url}/proxied-text`)).text(), "plain text");
    assert.deepEqual(await (await fetch(`${endpoint.url}/proxied-value`)).json(), { list: [1, 2] });
  });

  it("endpointProxy: a run that failed is an error for its client", async () => {
    const response = await fetch(`${endpoint.url}/proxied-failure`);
    assert.ok(response.status >= 500, `${response.status}`);
    assert.match(JSON.stringify(await response.json()), /it went wrong/);
  });

  it("endpointProxy: OPTIONS, missing parameters, and a wrong token", async () => {
    assert.equal((await fetch(`${endpoint.url}/wait`, { method: "OPTIONS" })).status, 204);
    assert.equal((await fetch(`${endpoint.url}/wait`)).status, 400);
    const run = await start(`${endpoint.url}/slow?name=Gus`);
    const wrong = await fetch(`${endpoint.url}/wait?runId=${run.runId}&token=wrong`);
    assert.equal(wrong.status, 401);
    assert.equal(typeof (await wrong.json()).error, "string");
  });

  it("a handler that returns nothing ends with nothing", async () => {
    const run = await start(`${endpoint.url}/nothing`);
    const { status, text } = await output(run.url);
    assert.equal(status, 200);
    // The SDK hands over an empty text.
    assert.ok(["", "null"].includes(text), text);
    assert.equal((await engine.run(run.runId)).status, "Completed");
  });
});
