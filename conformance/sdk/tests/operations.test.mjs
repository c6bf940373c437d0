// How the engine is run: what its flags do to runs, and how it stops.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { output, start, value } from "../harness/client.mjs";
import { Endpoint } from "../harness/endpoint.mjs";
import { Engine } from "../harness/engine.mjs";
import { fakeServer, json, scripted } from "../harness/fakes.mjs";
import { assertStepsOnce } from "../harness/invariants.mjs";
import { pause } from "../harness/program.mjs";
import { readStream, words } from "../harness/sse.mjs";
import * as wire from "../harness/wire.mjs";

/** An engine with flags, and an endpoint program, for one test. */
async function having(flags, program, test, more = {}) {
  const engine = await Engine.dev({ flags, ...more });
  const endpoint = program && (await Endpoint.start(program, engine));
  try {
    await test(engine, endpoint);
  } catch (error) {
    throw engine.blame(error);
  } finally {
    await Promise.all([engine.kill(), endpoint?.kill()]);
  }
}

describe("operations", { concurrency: 4 }, () => {
  it("hold: a client that waits long is redirected to come again, and gets its outcome", () =>
    having(["--hold", "500ms"], "requests", async (_engine, endpoint) => {
      const run = await start(`${endpoint.url}/ending`);
      const first = await fetch(run.url, { redirect: "manual" });
      assert.equal(first.status, 307);
      const again = new URL(first.headers.get("location"), run.url);
      assert.equal(again.pathname, new URL(run.url).pathname);
      assert.equal(again.searchParams.get("token"), run.token);
      assert.deepEqual(await value(run.url), { done: true });
    }));

  it("hold: endpointProxy() follows, and a query for the original form is kept", () =>
    having(["--hold", "300ms"], "features", async (_engine, endpoint) => {
      const response = await fetch(`${endpoint.url}/proxied?name=Ada`);
      assert.deepEqual(await response.json(), { after: "hello Ada" });
      const run = await start(`${endpoint.url}/slow?name=Bob`);
      const { json: body } = await output(`${run.url}&response=original`);
      assert.deepEqual(body(), { after: "hello Bob" });
    }));

  it("output original: clients get the handler's own response, the SDK's proxy still what it reads", () =>
    having(["--output", "original"], "features", async (_engine, endpoint) => {
      const run = await start(`${endpoint.url}/slow?name=Ada`);
      assert.deepEqual((await output(run.url)).json(), { after: "hello Ada" });
      assert.equal(await (await fetch(`${endpoint.url}/proxied-text`)).text(), "plain text");
    }));

  it("token-lifetime: a token opens its run until then", () =>
    having(["--token-lifetime", "2s", "--retention", "2s"], "requests", async (_engine, endpoint) => {
      const run = await start(`${endpoint.url}/ending`);
      assert.equal((await output(run.url)).status, 200);
      await pause(2_500);
      assert.equal((await output(run.url)).status, 401);
    }));

  it("reentry-timeout: an endpoint that never answers is called again, and not waited for", () =>
    having(["--reentry-timeout", "1s"], undefined, async (engine) => {
      let calls = 0;
      const slow = await fakeServer((_request, response) => {
        if ((calls += 1) > 1) json(response, wire.complete("at last"), 206, { "x-inngest-sdk": "inngest-js:v4.24.0" });
      });
      try {
        const runId = wire.ulid();
        await engine.post("/v1/checkpoint", wire.firstCheckpoint(runId, slow.url, [wire.sleeping("z", "")]));
        assert.equal((await engine.ended(runId)).status, "Completed");
        assert.equal(calls, 2);
      } finally {
        slow.close();
      }
    }));

  it("limit-reentries: no more calls at once than that, and all runs end", () =>
    having(["--limit-reentries", "3"], undefined, async (engine) => {
      let now = 0;
      let most = 0;
      const counting = await fakeServer(async (_request, response) => {
        now += 1;
        most = Math.max(most, now);
        await pause(80);
        now -= 1;
        json(response, wire.complete("done"), 206, { "x-inngest-sdk": "inngest-js:v4.24.0" });
      });
      try {
        const ids = Array.from({ length: 20 }, () => wire.ulid());
        const steps = [wire.sleeping("z", "")];
        const begin = (runId) => engine.post("/v1/checkpoint", wire.firstCheckpoint(runId, counting.url, steps));
        await Promise.all(ids.map(begin));
        for (const id of ids) assert.equal((await engine.ended(id)).status, "Completed");
        assert.ok(most <= 3 && most > 1, `${most} at once`);
      } finally {
        counting.close();
      }
    }));

  it("limit-steps: a run of too many steps fails and says why", () =>
    having(["--limit-steps", "5"], "opcodes", async (engine, endpoint) => {
      const run = await start(`${endpoint.url}/steps?n=40`);
      const { status, text } = await output(run.url);
      assert.ok(status >= 500, `${status}`);
      assert.match(text, /step/);
      assert.equal((await engine.run(run.runId)).status, "Failed");
    }));

  it("limit-reply-bytes: an answer that is too large does not complete its run", () =>
    having(["--limit-reply-bytes", "10000"], undefined, async (engine) => {
      const large = await scripted([{ body: wire.complete("x".repeat(20_000)) }]);
      try {
        const runId = wire.ulid();
        await engine.post("/v1/checkpoint", wire.firstCheckpoint(runId, large.url, [wire.sleeping("z", "")], { retries: 3 }));
        assert.equal((await engine.ended(runId)).status, "Failed");
        assert.equal(large.requests.length, 1, "it would not be smaller another time");
      } finally {
        large.close();
      }
    }));

  it("a reply that cannot be understood fails its run at once, and says why", () =>
    having([], undefined, async (engine) => {
      const odd = await scripted([{ body: [{ ...wire.ran("a", 1), op: "Levitate" }] }]);
      try {
        const runId = wire.ulid();
        const body = wire.firstCheckpoint(runId, odd.url, [wire.sleeping("z", "")]);
        const { token } = (await (await engine.post("/v1/checkpoint", body)).json()).data;
        const { status, text } = await output(wire.outputUrl(engine, runId, token));
        assert.ok(status >= 500, `${status}`);
        assert.match(text, /Levitate/);
        assert.equal(odd.requests.length, 1);
      } finally {
        odd.close();
      }
    }));

  it("SIGTERM while a step runs: its outcome is kept, and the next engine goes on", () =>
    having([], "faults", async (engine, endpoint) => {
      const run = await start(`${endpoint.url}/re-entry`);
      await endpoint.line("the step runs", ({ kind, step }) => kind === "start" && step === "long");
      assert.deepEqual(await engine.stop(), { code: 0, signal: null });
      await engine.start();
      assert.deepEqual(await value(run.url), { a: "A", b: "B" });
      for (const step of ["before", "long", "last"]) assert.equal(endpoint.executions(step, run.runId).length, 1, step);
    }));

  it("SIGTERM while clients wait: none is told anything wrong", () =>
    having([], "requests", async (engine, endpoint) => {
      const run = await start(`${endpoint.url}/ending`);
      const waiting = output(run.url).then(({ status }) => status, () => "broken");
      await pause(200);
      await engine.stop();
      await engine.start();
      assert.ok(["broken", 200, 503].includes(await waiting), `${await waiting}`);
      assert.deepEqual(await value(run.url), { done: true });
    }));

  it("memory: the engine runs without a disk", () =>
    having(
      [],
      "faults",
      async (engine, endpoint) => {
        const run = await start(`${endpoint.url}/parallel`);
        assert.deepEqual(await value(run.url), { got: [1, 2, 3], sum: 6 });
        assertStepsOnce(endpoint.lines(), []);
        assert.equal((await engine.run(run.runId)).status, "Completed");
      },
      { store: "memory:" },
    ));

  it("two hundred runs at once: each ends right, each step once", () =>
    having([], "faults", async (engine, endpoint) => {
      const runs = await Promise.all(Array.from({ length: 200 }, () => start(`${endpoint.url}/sleeping?duration=1s`)));
      assert.deepEqual(
        await Promise.all(runs.map(({ url }) => value(url))),
        runs.map(() => ({ slept: true })),
      );
      assertStepsOnce(endpoint.lines(), []);
      for (const { runId } of runs) assert.equal(endpoint.executions("after", runId).length, 1);
      const { data } = await (await engine.call("/v1/runs?status=Running")).json();
      assert.deepEqual(data, []);
    }));

  it("a stream over its limit ends its run or drops what is over, and does not hang", () =>
    having(["--limit-stream-bytes", "2000"], "streaming", async (engine, endpoint) => {
      const { frames } = await readStream(`${endpoint.url}/count`);
      const { url, runId } = frames.find(({ event }) => event === "inngest.redirect_info").data;
      const read = await readStream(url, { signal: AbortSignal.timeout(20_000) });
      assert.ok(["succeeded", "failed"].includes(words(read.frames).at(-1)));
      assert.notEqual((await engine.ended(runId)).status, "Running");
    }));
});
