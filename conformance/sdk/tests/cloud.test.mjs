// Keys: `onward start`, with which both sides sign and verify.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { after, before, describe, it } from "node:test";
import { streamed } from "../harness/callbacks.mjs";
import { call, output, start, value } from "../harness/client.mjs";
import { Endpoint } from "../harness/endpoint.mjs";
import { binary, Engine, environment, EVENT_KEY, OTHER_SIGNING_KEY, SIGNING_KEY } from "../harness/engine.mjs";
import { fakeServer } from "../harness/fakes.mjs";
import { pause, temporaryFolder } from "../harness/program.mjs";
import * as wire from "../harness/wire.mjs";

/** The environment of an endpoint in cloud mode. */
const cloud = (engine, more = {}) => ({
  INNGEST_DEV: undefined,
  INNGEST_BASE_URL: engine.url,
  INNGEST_SIGNING_KEY: SIGNING_KEY,
  INNGEST_EVENT_KEY: EVENT_KEY,
  ...more,
});

describe("keys", { concurrency: 4 }, () => {
  let engine, endpoint, opcodes, streaming;
  const ends = [];
  before(async () => {
    engine = await Engine.cloud();
    [endpoint, opcodes, streaming] = await Promise.all(
      ["requests", "opcodes", "streaming"].map((name) => Endpoint.start(name, engine, { env: cloud(engine) })),
    );
  });
  after(() => Promise.all([engine, endpoint, opcodes, streaming].map((one) => one.stop()).concat(ends.map((end) => end()))));

  const pair = async (signingKeys, env) => {
    const own = await Engine.cloud({ signingKeys });
    const program = await Endpoint.start("requests", own, { env: cloud(own, env) });
    ends.push(() => own.kill(), () => program.kill());
    return { own, program };
  };

  it("a run with the same key on both sides, through a sleep", async () => {
    const run = await start(`${endpoint.url}/several`);
    assert.deepEqual(await value(run.url), { sum: 6 });
    for (const step of ["one", "two", "three"]) assert.equal(endpoint.executions(step, run.runId).length, 1);
  });

  const odd = '{"b": 1,   "a": [1.0, 2e1, 1e-7, 123456789012345680000], "ü\\u20ac": "\\u0041", "": null}';
  const bodies = [odd, "[ 1 ,2]", '"abc"', " 5 ", "{}"];
  it("POST with JSON that is not in canonical form is signed so that the SDK verifies it", async () => {
    for (const body of bodies) {
      const init = { method: "POST", body, headers: { "content-type": "application/json" } };
      const run = await start(`${endpoint.url}/body`, init);
      assert.equal((await value(run.url)).second.body, body);
      assert.equal(endpoint.executions("second", run.runId).length, 1);
    }
  });

  it("text in a POST, and JSON in a PATCH, are signed so too", async () => {
    const text = await start(`${endpoint.url}/body`, { method: "POST", body: "milk", headers: { "content-type": "text/plain" } });
    assert.equal((await value(text.url)).first.body, "milk");
    const patch = await start(`${endpoint.url}/body`, { method: "PATCH", body: '{ "a":1}' });
    assert.equal((await value(patch.url)).second.body, '{ "a":1}');
  });

  it("parallel steps, events by the SDK, and a stream", async () => {
    const run = await start(`${opcodes.url}/parallel`);
    assert.deepEqual((await value(run.url)).value, { got: [300, 200, 100], sum: 600 });
    const event = `test/cloud-${process.pid}`;
    const waiting = await start(`${opcodes.url}/wait?event=${event}&timeout=20s&condition=async.data.n==3`);
    await start(`${opcodes.url}/send-event?name=${event}`);
    assert.deepEqual((await value(waiting.url)).value.data, { n: 3 });
    const { response, calls } = await streamed(`${streaming.url}/mixed`, ["a", "b", "c"]);
    assert.equal(await response.text(), "ABC");
    assert.ok(calls.some(([kind, data]) => kind === "data" && data === "b2"));
  });

  it("a call of an endpoint that the engine did not sign is refused by the SDK", async () => {
    const headers = { "x-run-id": wire.ulid(), "x-inngest-signature": `t=${Math.floor(Date.now() / 1000)}&s=${"0".repeat(64)}` };
    assert.equal((await fetch(`${endpoint.url}/several`, { headers })).status, 401);
  });

  const calls = [
    ["POST", "/v1/checkpoint", JSON.stringify(wire.firstCheckpoint(wire.ulid(), "http://127.0.0.1:9/", [wire.ran("a", 1)]))],
    ["POST", `/v1/checkpoint/${wire.ulid()}/steps`, "{}"],
    ["GET", `/v0/runs/${wire.ulid()}/actions`],
    ["GET", `/v0/runs/${wire.ulid()}/batch`],
    ["POST", `/v1/realtime/publish/tee?channel=${wire.ulid()}`, ":\n\n"],
    ["POST", "/v1/signals", '{"signal":"a"}'],
    ["POST", "/fn/register", "{}"],
    ["GET", "/v1/runs"],
    ["GET", `/v1/runs/${wire.ulid()}`],
    ["DELETE", `/v1/runs/${wire.ulid()}`],
  ];
  const wrong = ["", "Bearer", "Bearer ", `Bearer ${OTHER_SIGNING_KEY}`, "Bearer undefined", `Basic ${SIGNING_KEY}`];
  for (const [method, path, body] of calls) {
    it(`${method} ${path.replace(/[0-9A-Z]{26}/, "{run}")} needs the signing key`, async () => {
      for (const authorization of wrong) {
        const headers = { "content-type": "application/json", ...(authorization && { authorization }) };
        const response = await fetch(engine.url + path, { method, headers, body });
        assert.equal(response.status, 401, `"${authorization}"`);
        const answer = await response.json();
        assert.equal(typeof answer.error, "string");
        assert.equal(answer.status, 401);
      }
      assert.notEqual((await engine.call(path, { method, body })).status, 401, "the right key is taken");
    });
  }

  it("the key is taken as it is and hashed, with any prefix", async () => {
    const { createHash } = await import("node:crypto");
    const plain = SIGNING_KEY.replace("signkey-test-", "");
    const hashed = createHash("sha256").update(plain, "hex").digest("hex");
    for (const key of [SIGNING_KEY, `signkey-test-${hashed}`, `signkey-prod-${hashed}`, hashed]) {
      const response = await fetch(`${engine.url}/v1/runs`, { headers: { authorization: `Bearer ${key}` } });
      assert.equal(response.status, 200, key);
    }
  });

  it("an event key that is wrong is refused, also the one of development", async () => {
    for (const key of ["wrong", "NO_EVENT_KEY_SET", `${EVENT_KEY}x`]) {
      const response = await fetch(`${engine.url}/e/${key}`, { method: "POST", body: '{"name":"a"}' });
      assert.equal(response.status, 401, key);
      assert.equal(typeof (await response.json()).error, "string");
    }
  });

  it("an endpoint with another key than the engine: its client gets an error, and no run exists", async () => {
    const { own, program } = await pair([SIGNING_KEY], { INNGEST_SIGNING_KEY: OTHER_SIGNING_KEY });
    const response = await call(`${program.url}/several`);
    assert.equal(response.status, 500);
    assert.match(await response.text(), /401/);
    assert.deepEqual((await (await own.call("/v1/runs")).json()).data, []);
  });

  it("rotation: the SDK has the new key and the old for a fallback, the engine still signs with the old", async () => {
    const { program } = await pair([SIGNING_KEY, OTHER_SIGNING_KEY], {
      INNGEST_SIGNING_KEY: OTHER_SIGNING_KEY,
      INNGEST_SIGNING_KEY_FALLBACK: SIGNING_KEY,
    });
    assert.deepEqual(await value((await start(`${program.url}/several`)).url), { sum: 6 });
  });

  it("rotation: the engine has only the old key, and the SDK falls back to it", async () => {
    const { program } = await pair([SIGNING_KEY], {
      INNGEST_SIGNING_KEY: OTHER_SIGNING_KEY,
      INNGEST_SIGNING_KEY_FALLBACK: SIGNING_KEY,
    });
    assert.deepEqual(await value((await start(`${program.url}/several`)).url), { sum: 6 });
  });

  it("rotation: the engine signs with the new key already, and the SDK has both", async () => {
    const { program } = await pair([OTHER_SIGNING_KEY, SIGNING_KEY], {
      INNGEST_SIGNING_KEY: SIGNING_KEY,
      INNGEST_SIGNING_KEY_FALLBACK: OTHER_SIGNING_KEY,
    });
    assert.deepEqual(await value((await start(`${program.url}/several`)).url), { sum: 6 });
  });

  it("an endpoint that refuses the engine's signature never completes its run", async () => {
    // It reports with the key that the engine knows, and verifies with one that it does not sign with.
    const { own, program } = await pair([SIGNING_KEY, OTHER_SIGNING_KEY], { INNGEST_SIGNING_KEY: OTHER_SIGNING_KEY });
    const run = await start(`${program.url}/several`);
    await pause(2_500);
    const { status } = await own.run(run.runId);
    assert.ok(["Running", "Failed"].includes(status), status);
    assert.equal(program.executions("two", run.runId).length, 0);
  });

  it("the outcome is opened by the run's token alone", async () => {
    const run = await start(`${endpoint.url}/ending`);
    assert.equal((await output(run.url)).status, 200);
    assert.equal((await output(run.url.replace(/token=.*/, "token=x"))).status, 401);
  });

  it("no key shows in the log", () => {
    for (const key of [SIGNING_KEY, SIGNING_KEY.replace("signkey-test-", ""), EVENT_KEY]) {
      assert.ok(!engine.output.includes(key));
    }
  });
});

describe("`onward start` by itself", { concurrency: 4 }, () => {
  it("without keys it does not start, and says which are missing", () => {
    const { status, stderr } = spawnSync(binary, ["start", "--store", "memory:", "--port", "1"], {
      cwd: temporaryFolder(),
      env: environment(),
      encoding: "utf8",
    });
    assert.notEqual(status, 0);
    assert.match(stderr, /signing.key/i);
  });

  it("keys may come by the environment", async () => {
    const env = { ONWARD_SIGNING_KEY: `${SIGNING_KEY},${OTHER_SIGNING_KEY}`, ONWARD_EVENT_KEY: `other,${EVENT_KEY}` };
    const engine = await Engine.cloud({ signingKeys: [], eventKey: null, env });
    try {
      for (const key of [SIGNING_KEY, OTHER_SIGNING_KEY]) {
        const response = await fetch(`${engine.url}/v1/runs`, { headers: { authorization: `Bearer ${key}` } });
        assert.equal(response.status, 200);
      }
      const response = await fetch(`${engine.url}/e/${EVENT_KEY}`, { method: "POST", body: '{"name":"a"}' });
      assert.equal(response.status, 200);
    } finally {
      await engine.kill();
    }
  });

  it("without --allow-private an endpoint on loopback is never called", async () => {
    const engine = await Engine.cloud({ allowPrivate: false });
    const inside = await fakeServer((_request, response) => response.end("secret"));
    try {
      const steps = [wire.sleeping("z", "")];
      const runId = wire.ulid();
      const response = await engine.post("/v1/checkpoint", wire.firstCheckpoint(runId, inside.url, steps));
      await pause(2_500);
      assert.equal(inside.requests.length, 0);
      if (response.ok) assert.notEqual((await engine.run(runId)).status, "Completed");
    } finally {
      inside.close();
      await engine.kill();
    }
  });

  it("SIGTERM ends it in order, with status 0", async () => {
    const engine = await Engine.dev();
    assert.deepEqual(await engine.stop(), { code: 0, signal: null });
  });
});
