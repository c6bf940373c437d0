// HTTP calls that the engine makes for a run: inference, and fetch.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { start, value } from "../harness/client.mjs";
import { Endpoint } from "../harness/endpoint.mjs";
import { Engine } from "../harness/engine.mjs";
import { fakeServer, json } from "../harness/fakes.mjs";
import { freePort } from "../harness/program.mjs";

describe("opcodes: ai.infer, ai.wrap and fetch", { concurrency: 8 }, () => {
  let engine, endpoint;
  const fakes = [];
  before(async () => {
    engine = await Engine.dev();
    endpoint = await Endpoint.start("opcodes", engine);
  });
  after(async () => {
    for (const fake of fakes) fake.close();
    await Promise.all([engine.stop(), endpoint.stop()]);
  });

  const fake = async (answer) => {
    const server = await fakeServer(answer);
    fakes.push(server);
    return server;
  };
  const ask = async (path, query) => {
    const run = await start(`${endpoint.url}/${path}?${new URLSearchParams(query)}`);
    return { ...(await value(run.url)), run };
  };

  it("ai.infer in the OpenAI format: the engine calls the model, the step gets its answer", async () => {
    const answer = { id: "x", choices: [{ message: { role: "assistant", content: "hello, world" } }] };
    const model = await fake((_request, response) => json(response, answer));
    const { value: got } = await ask("infer", { base: model.url });
    assert.deepEqual(got, answer);
    assert.equal(model.requests.length, 1);
    const [{ method, path, headers, body }] = model.requests;
    assert.deepEqual([method, path], ["POST", "/v1/chat/completions"]);
    assert.equal(headers.authorization, "Bearer secret-api-key");
    assert.match(headers["content-type"], /^application\/json/);
    assert.deepEqual(JSON.parse(body), { messages: [{ role: "user", content: "hello" }], model: "test-model" });
  });

  it("ai.infer in the Anthropic format: the key and the version go in its own headers", async () => {
    const model = await fake((_request, response) => json(response, { content: [{ type: "text", text: "hi" }] }));
    const { value: got } = await ask("infer", { base: model.url, kind: "anthropic" });
    assert.equal(got.content[0].text, "hi");
    const [{ path, headers }] = model.requests;
    assert.equal(path, "/v1/messages");
    assert.equal(headers["x-api-key"], "secret-api-key");
    assert.equal(headers["anthropic-version"], "2023-06-01");
  });

  it("ai.infer in the Gemini format: the key goes in the URL, and does not show", async () => {
    const model = await fake((_request, response) => json(response, { candidates: [] }));
    const { value: got, run } = await ask("infer", { base: model.url, kind: "gemini" });
    assert.deepEqual(got, { candidates: [] });
    assert.equal(model.requests[0].path, "/v1/models/test-model:generateContent?key=secret-api-key");
    assert.ok(!JSON.stringify(await engine.run(run.runId)).includes("secret-api-key"));
    assert.ok(!engine.output.includes("secret-api-key"));
  });

  it("ai.infer: a model that fails for a while is asked again", async () => {
    let calls = 0;
    const model = await fake((_request, response) =>
      (calls += 1) < 3 ? json(response, { error: "overloaded" }, 529) : json(response, { ok: true }),
    );
    const { value: got } = await ask("infer", { base: model.url });
    assert.deepEqual(got, { ok: true });
    assert.equal(calls, 3);
  });

  it("ai.infer: a model that always fails is the step's error, and the key does not show", async () => {
    const model = await fake((_request, response) => json(response, { error: { message: "no such model" } }, 400));
    const { error, run } = await ask("infer", { base: model.url });
    assert.equal(error.stepId, "ask");
    assert.equal(error.name, "AIGatewayError");
    const kept = JSON.stringify(await engine.run(run.runId));
    assert.ok(!kept.includes("secret-api-key"), "the operator's API does not show the key");
    assert.ok(!engine.output.includes("secret-api-key"), "the log does not show the key");
  });

  it("ai.wrap is a step", async () => {
    const { value: got } = await ask("wrap", {});
    assert.equal(got, "hello, world");
  });

  it("fetch: the engine makes the request, with method, headers and body", async () => {
    const server = await fake((request, response) =>
      response.writeHead(201, { "content-type": "text/plain" }).end(`got ${request.body}`),
    );
    const { value: got } = await ask("fetch", { url: `${server.url}/path?q=1`, method: "POST", body: "milk" });
    assert.deepEqual(got, { status: 201, type: "text/plain", text: "got milk" });
    const [{ method, path, headers }] = server.requests;
    assert.deepEqual([method, path, headers["x-own"]], ["POST", "/path?q=1", "yes"]);
    assert.equal(server.requests.length, 1, "once, though the handler was entered twice");
  });

  it("fetch: any status is an answer", async () => {
    const server = await fake((_request, response) => response.writeHead(503).end("later"));
    const { value: got } = await ask("fetch", { url: server.url, method: "GET" });
    assert.deepEqual([got.status, got.text], [503, "later"]);
    assert.equal(server.requests.length, 1);
  });

  it("fetch: nobody at the other end is the step's error", async () => {
    const { error } = await ask("fetch", { url: `http://127.0.0.1:${await freePort()}/`, method: "GET" });
    assert.match(error.stepId, /^step\.fetch: 127\.0\.0\.1/);
    assert.equal(error.name, "GatewayError");
  });
});
