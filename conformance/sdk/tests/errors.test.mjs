// What the engine refuses, and how it says so.

import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, describe, it } from "node:test";
import { call, output, start } from "../harness/client.mjs";
import { Endpoint } from "../harness/endpoint.mjs";
import { Engine } from "../harness/engine.mjs";
import { readStream, words } from "../harness/sse.mjs";
import * as wire from "../harness/wire.mjs";

describe("errors and limits", { concurrency: 4 }, () => {
  let engine, endpoint;
  before(async () => {
    engine = await Engine.dev({ flags: ["--limit-checkpoint-bytes", "65536"] });
    endpoint = await Endpoint.start("opcodes", engine);
  });
  after(() => Promise.all([engine.kill(), endpoint.kill()]));

  const never = "http://127.0.0.1:9/never";
  const begun = async (steps = [wire.ran("a", 1)]) => {
    const runId = wire.ulid();
    const response = await engine.post("/v1/checkpoint", wire.firstCheckpoint(runId, never, steps));
    return { runId, ...(await response.json()).data };
  };

  /** The answer is an error in the form that the SDK reads. */
  async function refused(response, status) {
    const text = await response.text();
    assert.equal(response.status, status, text);
    const body = JSON.parse(text);
    assert.equal(typeof body.error, "string", text);
    assert.equal(body.status, status, text);
    assert.doesNotMatch(body.error, /rusqlite|panicked|src\/|\.rs\b/, text);
    return body.error;
  }

  const good = () => wire.firstCheckpoint(wire.ulid(), never, [wire.ran("a", 1)]);
  const broken = {
    "no JSON": () => "{",
    "an array": () => "[]",
    "no run id": () => ({ ...good(), run_id: undefined }),
    "a run id that is none": () => ({ ...good(), run_id: "../../etc/passwd" }),
    "no event": () => ({ ...good(), event: undefined }),
    "steps that are no list": () => ({ ...good(), steps: "a" }),
    "an unknown operation": () => ({ ...good(), steps: [{ ...wire.ran("a", 1), op: "Levitate" }] }),
    "a step without an id": () => ({ ...good(), steps: [{ op: "StepRun", data: 1 }] }),
    "a step whose id is no hash": () => ({ ...good(), steps: [{ ...wire.ran("a", 1), id: "a" }] }),
    "a domain that is not of HTTP": () =>
      wire.firstCheckpoint(wire.ulid(), never, [wire.ran("a", 1)], { event: { domain: "file:///etc" } }),
  };
  for (const [name, body] of Object.entries(broken)) {
    it(`a checkpoint with ${name} is refused`, async () => {
      await refused(await engine.post("/v1/checkpoint", body()), name.includes("HTTP") ? 403 : 400);
    });
  }

  it("a later checkpoint that is malformed is refused with 400, and the run is as before", async () => {
    const { runId } = await begun();
    await refused(await engine.post(`/v1/checkpoint/${runId}/steps`, "{"), 400);
    await refused(await engine.post(`/v1/checkpoint/${runId}/steps`, { steps: [{ op: "Nope", id: wire.hash("a") }] }), 400);
    const memos = await (await engine.call(`/v0/runs/${runId}/actions`)).json();
    assert.deepEqual(memos, { [wire.hash("a")]: { data: 1 } });
  });

  it("an unknown run is 404 everywhere, a run id that is none is 4xx", async () => {
    const runId = wire.ulid();
    for (const path of [`/v0/runs/${runId}/actions`, `/v0/runs/${runId}/batch`, `/v1/runs/${runId}`]) {
      await refused(await engine.call(path), 404);
    }
    await refused(await engine.post(`/v1/checkpoint/${runId}/steps`, wire.laterCheckpoint(runId, [wire.ran("a", 1)])), 404);
    await refused(await engine.call(`/v1/runs/${runId}`, { method: "DELETE" }), 404);
    for (const path of ["/v0/runs/nonsense/actions", "/v1/runs/nonsense"]) {
      const { status } = await engine.call(path);
      assert.ok(status === 400 || status === 404, `${path}: ${status}`);
    }
    assert.equal((await engine.call("/no/such/path")).status, 404);
  });

  it("an output token that is wrong, missing, or another run's is 401", async () => {
    const [one, other] = await Promise.all([begun(), begun()]);
    const path = `${engine.url}/v1/http/runs/${one.runId}/output`;
    await refused(await fetch(path), 401);
    await refused(await fetch(`${path}?token=`), 401);
    await refused(await fetch(`${path}?token=nonsense`), 401);
    await refused(await fetch(`${path}?token=${other.token}`), 401);
    await refused(await fetch(`${path}?token=${one.token.slice(0, -1)}`), 401);
    await refused(await fetch(`${engine.url}/v1/http/runs/${wire.ulid()}/output?token=${one.token}`), 401);
    await refused(await fetch(`${engine.url}/v1/realtime/sse?token=${one.token}x`), 401);
  });

  it("a token of the output does not open the stream, nor the other way about", async () => {
    const run = await begun();
    await refused(await fetch(wire.streamUrl(engine, run.token)), 401);
    await refused(await fetch(wire.outputUrl(engine, run.runId, run.realtime_token)), 401);
  });

  it("a checkpoint that is too large is refused with 413, and nothing of it is kept", async () => {
    const runId = wire.ulid();
    const large = wire.firstCheckpoint(runId, never, [wire.ran("a", "x".repeat(70_000))]);
    await refused(await engine.post("/v1/checkpoint", large), 413);
    await refused(await engine.call(`/v1/runs/${runId}`), 404);
    const run = await begun();
    const later = wire.laterCheckpoint(run.runId, [wire.ran("b", "x".repeat(70_000))]);
    await refused(await engine.post(`/v1/checkpoint/${run.runId}/steps`, later), 413);
  });

  it("a step whose output is too large for a checkpoint fails its request loudly", async () => {
    const response = await call(`${endpoint.url}/values`);
    assert.equal(response.status, 500);
    assert.match(await response.text(), /Failed to checkpoint/);
  });

  const events = {
    "no name": [{ data: {} }, 400],
    "an empty name": [{ name: "", data: {} }, 400],
    "a name of the engine's own": [{ name: "inngest/function.finished", data: {} }, 400],
    "a time before 1980": [{ name: "test/old", data: {}, ts: 1 }, 400],
    "a time after 2100": [{ name: "test/new", data: {}, ts: 5_000_000_000_000 }, 400],
    "data that is no object": [{ name: "test/list", data: 5 }, 400],
    "no JSON": ["{", 400],
    "text": ['"test/a"', 400],
    "too much data": [{ name: "test/large", data: { text: "x".repeat(600_000) } }, 413],
    "too many": [Array.from({ length: 5_001 }, (_, n) => ({ name: "test/many", data: { n } })), 400],
  };
  for (const [name, [body, status]] of Object.entries(events)) {
    it(`an event with ${name} is refused with ${status}`, async () => {
      const response = await engine.post(`/e/${engine.eventKey}`, body);
      const text = await response.text();
      assert.ok(response.status === status || (status === 413 && response.status === 400), `${response.status} ${text}`);
      const answer = JSON.parse(text);
      assert.equal(typeof answer.error, "string");
      assert.equal(answer.status, response.status);
    });
  }

  it("events: one object or a list, an id each, none for a list of none", async () => {
    const one = await (await engine.post(`/e/${engine.eventKey}`, { name: "test/one" })).json();
    assert.deepEqual([one.status, one.ids.length, one.error], [200, 1, undefined]);
    const list = await (await engine.post(`/e/${engine.eventKey}`, [{ name: "a" }, { name: "b", id: "own" }])).json();
    assert.equal(list.ids.length, 2);
    assert.deepEqual((await (await engine.post(`/e/${engine.eventKey}`, [])).json()).ids, []);
  });

  it("events: the same seed gives the same ids, and a list with one that is bad is refused as a whole", async () => {
    const seed = `${Date.now()},${Buffer.from("0123456789").toString("base64")}`;
    const headers = { "x-inngest-event-id-seed": seed };
    const send = async () => {
      const response = await engine.post(`/e/${engine.eventKey}`, [{ name: "a" }, { name: "b" }], headers);
      return (await response.json()).ids;
    };
    const first = await send();
    assert.deepEqual(await send(), first);
    assert.notEqual(first[0], first[1]);
    const mixed = await engine.post(`/e/${engine.eventKey}`, [{ name: "fine" }, { name: "" }]);
    assert.equal(mixed.status, 400);
  });

  /** A request with headers that fetch() does not let through. */
  const raw = (method, path, headers) =>
    new Promise((resolve, reject) => {
      const sent = request(engine.url + path, { method, headers }, (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      sent.once("error", reject);
      sent.end(method === "POST" ? '{"name":"test/page"}' : undefined);
    });

  it("without keys, only who calls it by a local name is answered", async () => {
    for (const host of ["localhost:1", "127.0.0.1", "[::1]:8288", "host.docker.internal:8288"]) {
      assert.equal(await raw("GET", "/v1/runs", { host }), 200, host);
    }
    for (const host of ["evil.example.com", "127.0.0.1.evil.example:8288", "engine:8288", "printer.local", "a.internal"]) {
      const status = await raw("GET", "/v1/runs", { host });
      assert.ok(status >= 400 && status < 500, `${host}: ${status}`);
    }
  });

  it("without keys, pages of other origins send no events", async () => {
    const path = `/e/${engine.eventKey}`;
    const status = await raw("POST", path, { origin: "https://evil.example.com", "content-type": "text/plain" });
    assert.ok(status >= 400 && status < 500, `${status}`);
    assert.equal(await raw("POST", path, { "content-type": "application/json" }), 200);
  });

  it("a cancelled run is over: its outcome, its stream, its state", async () => {
    const run = await start(`${endpoint.url}/wait?event=test/cancel&timeout=1h`);
    const waiting = output(run.url);
    assert.ok((await engine.call(`/v1/runs/${run.runId}`, { method: "DELETE" })).ok);
    assert.equal((await engine.run(run.runId)).status, "Cancelled");
    const { status, json } = await waiting;
    assert.ok(status >= 400, `${status}`);
    assert.ok(json().error);
    await refused(await engine.call(`/v0/runs/${run.runId}/actions`), 410);
    await engine.send("test/cancel", {});
    assert.equal((await engine.run(run.runId)).status, "Cancelled");
    assert.equal(endpoint.executions("woken", run.runId).length, 0);
  });

  it("a cancelled run's stream ends with a terminal frame", async () => {
    const run = await begun([wire.sleeping("z", "1h")]);
    const reading = readStream(wire.streamUrl(engine, run.realtime_token));
    await engine.call(`/v1/runs/${run.runId}`, { method: "DELETE" });
    assert.equal(words((await reading).frames).at(-1), "failed");
  });

  it("the operator's list: by status, with a limit", async () => {
    const run = await start(`${endpoint.url}/wait?event=test/list&timeout=1h`);
    const list = async (query) => (await (await engine.call(`/v1/runs?${query}`)).json()).data;
    assert.ok((await list("status=Running&limit=100")).some(({ run_id }) => run_id === run.runId));
    assert.ok(!(await list("status=Completed&limit=100")).some(({ run_id }) => run_id === run.runId));
    assert.equal((await list("limit=1")).length, 1);
    assert.ok([400, 422].includes((await engine.call("/v1/runs?status=Nonsense")).status));
  });
});
