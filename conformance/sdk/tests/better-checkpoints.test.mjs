// Better than the original: checkpoints are idempotent, and durable when they are acknowledged.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { output } from "../harness/client.mjs";
import { Engine } from "../harness/engine.mjs";
import { scripted } from "../harness/fakes.mjs";
import { eventually } from "../harness/program.mjs";
import * as wire from "../harness/wire.mjs";

describe("better: checkpoints", { concurrency: 4 }, () => {
  let engine;
  const ends = [];
  before(async () => {
    engine = await Engine.dev({ flags: ["--first-request-lease", "2s"] });
  });
  after(() => Promise.all([engine.kill(), ...ends.map((end) => end())]));

  const fake = async (...lines) => {
    const server = await scripted(lines);
    ends.push(server.close);
    return server;
  };
  const never = "http://127.0.0.1:9/never";
  const first = async (of, body) => {
    const response = await of.post("/v1/checkpoint", body);
    assert.equal(response.status, 200, await response.clone().text());
    return (await response.json()).data;
  };
  const memos = async (of, runId) => (await of.call(`/v0/runs/${runId}/actions`)).json();

  it("the answer to the first checkpoint has all that the SDK needs", async () => {
    const runId = wire.ulid();
    const data = await first(engine, wire.firstCheckpoint(runId, never, [wire.ran("a", 1)]));
    for (const key of ["fn_id", "app_id", "run_id", "token", "realtime_token"]) {
      assert.ok(typeof data[key] === "string" && data[key], key);
    }
    assert.equal(data.run_id, runId);
    assert.match(data.token, /^[\w.~-]+$/, "it goes into a URL unescaped");
  });

  it("the identical first checkpoint twice, and at the same time: one run, one answer, tokens that open it", async () => {
    const runId = wire.ulid();
    const body = JSON.stringify(wire.firstCheckpoint(runId, never, [wire.ran("a", { n: 1 })]));
    const answers = await Promise.all(Array.from({ length: 8 }, () => first(engine, body)));
    answers.push(await first(engine, body));
    for (const { run_id, fn_id } of answers) assert.deepEqual([run_id, fn_id], [runId, answers[0].fn_id]);
    assert.deepEqual(await memos(engine, runId), { [wire.hash("a")]: { data: { n: 1 } } });
    await engine.post(`/v1/checkpoint/${runId}/steps`, wire.laterCheckpoint(runId, [wire.complete("end")]));
    for (const { token } of answers) {
      const { status, json } = await output(wire.outputUrl(engine, runId, token));
      assert.deepEqual([status, json()], [200, "end"]);
    }
  });

  it("the identical later checkpoint twice: a step is kept once, a sleep is slept once", async () => {
    const runId = wire.ulid();
    const server = await fake({ body: wire.complete("end") });
    await first(engine, wire.firstCheckpoint(runId, server.url, [wire.ran("a", 1)]));
    const steps = JSON.stringify(wire.laterCheckpoint(runId, [wire.sleeping("z", "1s")]));
    for (let i = 0; i < 3; i += 1) {
      assert.equal((await engine.post(`/v1/checkpoint/${runId}/steps`, steps)).status, 200);
    }
    assert.equal((await engine.ended(runId)).status, "Completed");
    assert.equal(server.requests.length, 1, "one re-entry");
    // And once more after the end.
    assert.equal((await engine.post(`/v1/checkpoint/${runId}/steps`, steps)).status, 200);
    assert.equal((await engine.run(runId)).steps.length, 2);
  });

  it("a step's first output stays, whatever is reported later", async () => {
    const runId = wire.ulid();
    await first(engine, wire.firstCheckpoint(runId, never, [wire.ran("a", "first")]));
    await engine.post(`/v1/checkpoint/${runId}/steps`, wire.laterCheckpoint(runId, [wire.ran("a", "second")]));
    assert.deepEqual(await memos(engine, runId), { [wire.hash("a")]: { data: "first" } });
  });

  it("a run's first end stays", async () => {
    const runId = wire.ulid();
    const { token } = await first(engine, wire.firstCheckpoint(runId, never, [wire.complete("first")]));
    await engine.post(`/v1/checkpoint/${runId}/steps`, wire.laterCheckpoint(runId, [wire.complete("second")]));
    assert.equal((await output(wire.outputUrl(engine, runId, token))).json(), "first");
  });

  it("re-entries carry the run: method, query, body, content type and headers", async () => {
    const runId = wire.ulid();
    const server = await fake({ body: [wire.ran("b", 2)] }, { body: wire.complete({ ok: true }) });
    const event = { method: "POST", body: '{"n": 1}', content_type: "application/vnd.own+json" };
    const data = await first(
      engine,
      wire.firstCheckpoint(runId, `${server.url}/path%20x?q=1&q=2`, [wire.ran("a", 1)], { event }),
    );
    await engine.post(`/v1/checkpoint/${runId}/steps`, wire.laterCheckpoint(runId, [wire.sleeping("z", "")]));
    assert.deepEqual((await output(wire.outputUrl(engine, runId, data.token))).json(), { ok: true });
    assert.equal(server.requests.length, 2);
    for (const { method, path, headers, body } of server.requests) {
      assert.deepEqual([method, path, body], ["POST", "/path%20x?q=1&q=2", '{"n": 1}']);
      assert.equal(headers["content-type"], "application/vnd.own+json");
      assert.equal(headers["x-run-id"], runId);
      assert.equal(headers["x-inngest-step-id"], undefined);
      assert.equal(headers["x-inngest-force-step-plan"], undefined);
    }
    assert.equal((await engine.ended(runId)).status, "Completed");
  });

  it("the state of a run: its request as an event, its steps in the order of completion", async () => {
    const runId = wire.ulid();
    const ids = ["z", "y", "a", "m"];
    const event = { method: "POST", body: "plain text", content_type: "text/plain", ip: "9.9.9.9" };
    await first(engine, wire.firstCheckpoint(runId, `${never}?q=1`, [wire.ran("z", null)], { event }));
    for (const id of ids.slice(1)) {
      await engine.post(`/v1/checkpoint/${runId}/steps`, wire.laterCheckpoint(runId, [wire.ran(id, id)]));
    }
    const text = await (await engine.call(`/v0/runs/${runId}/actions`)).text();
    assert.deepEqual(Object.keys(JSON.parse(text)), ids.map(wire.hash));
    assert.deepEqual(JSON.parse(text)[wire.hash("z")], { data: null });
    const [{ name, id, ts, data }] = await (await engine.call(`/v0/runs/${runId}/batch`)).json();
    assert.equal(name, "inngest/http.request");
    assert.ok(id && Math.abs(ts - Date.now()) < 60_000);
    const { domain, path, query_params, body, ip, method, content_type, fn } = data;
    assert.deepEqual(
      [domain, path, query_params, body, ip, method, content_type, fn],
      ["http://127.0.0.1:9", "/never", "q=1", "plain text", "9.9.9.9", "POST", "text/plain", ""],
    );
  });

  it("kill -9 right after the acknowledgement: what was acknowledged is there, ten times in a row", async () => {
    const own = await Engine.dev();
    ends.push(() => own.kill());
    const runs = [];
    for (let i = 0; i < 10; i += 1) {
      const runId = wire.ulid();
      const { token } = await first(own, wire.firstCheckpoint(runId, never, [wire.ran("a", i)]));
      if (i % 2) await own.post(`/v1/checkpoint/${runId}/steps`, wire.laterCheckpoint(runId, [wire.ran("b", i)]));
      await own.restart();
      runs.push({ runId, token, i });
      const kept = await memos(own, runId);
      assert.deepEqual(kept[wire.hash("a")], { data: i });
      assert.deepEqual(kept[wire.hash("b")], i % 2 ? { data: i } : undefined);
    }
    for (const { runId, token, i } of runs) {
      await own.post(`/v1/checkpoint/${runId}/steps`, wire.laterCheckpoint(runId, [wire.complete(i)]));
      assert.equal((await output(wire.outputUrl(own, runId, token))).json(), i, "tokens outlive a restart");
    }
  });

  it("kill -9 right after an event's acknowledgement: who waits is woken", async () => {
    const own = await Engine.dev();
    ends.push(() => own.kill());
    for (let i = 0; i < 3; i += 1) {
      const runId = wire.ulid();
      const server = await fake({ body: wire.complete("woken") });
      const wait = wire.waiting("w", `test/kill-${i}`, { timeout: "1h" });
      await first(own, wire.firstCheckpoint(runId, server.url, [wire.ran("a", 1)]));
      await own.post(`/v1/checkpoint/${runId}/steps`, wire.laterCheckpoint(runId, [wait]));
      await own.send(`test/kill-${i}`, { n: i });
      await own.restart();
      assert.equal((await own.ended(runId)).status, "Completed");
      const kept = await own.run(runId);
      assert.ok(kept.steps.some(({ id }) => id === "w"));
    }
  });

  it("parallel steps by hand: a targeted call each, and one discovery after the last", async () => {
    const runId = wire.ulid();
    const targeted = (request) => {
      const id = request.headers["x-inngest-step-id"];
      if (!id) return { body: wire.complete("both") };
      const name = ["a", "b"].find((step) => wire.hash(step) === id);
      return { body: [wire.ran(name, name)] };
    };
    const server = await fake(targeted);
    await first(engine, wire.firstCheckpoint(runId, server.url, [wire.planned("a"), wire.planned("b")]));
    assert.equal((await engine.ended(runId)).status, "Completed");
    const targets = server.requests.map(({ headers }) => headers["x-inngest-step-id"] ?? "discovery");
    assert.deepEqual(targets.slice(0, 2).sort(), [wire.hash("a"), wire.hash("b")].sort());
    assert.deepEqual(targets.slice(2), ["discovery"]);
    for (const { headers } of server.requests.slice(0, 2)) assert.equal(headers["x-inngest-force-step-plan"], "true");
    assert.equal(server.requests[2].headers["x-inngest-force-step-plan"], undefined);
  });

  it("a reply that asks for nothing new is no end, and an empty one is no crash", async () => {
    const runId = wire.ulid();
    const asking = { body: [wire.sleeping("z", "1s")] };
    const server = await fake(asking, asking, { body: wire.complete(1) });
    await first(engine, wire.firstCheckpoint(runId, server.url, [wire.ran("a", 1)]));
    await engine.post(`/v1/checkpoint/${runId}/steps`, wire.laterCheckpoint(runId, [wire.sleeping("y", "")]));
    const run = await engine.ended(runId);
    assert.equal(run.status, "Completed");
    await eventually("three calls", () => server.requests.length === 3);
  });
});
