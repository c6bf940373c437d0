// Better than the original: what dies is taken up again, what is no answer is not taken for one, and every run ends.

import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { call, output, start, value } from "../harness/client.mjs";
import { Endpoint } from "../harness/endpoint.mjs";
import { Engine } from "../harness/engine.mjs";
import { gateway } from "../harness/fakes.mjs";
import { eventually, pause } from "../harness/program.mjs";
import { followStream, readStream, words } from "../harness/sse.mjs";
import { outputUrl } from "../harness/wire.mjs";

describe("better: recovery", { concurrency: 4 }, () => {
  const ends = [];
  after(() => Promise.all(ends.map((end) => end())));

  async function pair({ env = {}, unreachable = "10s" } = {}) {
    const flags = ["--first-request-lease", "2s", "--unreachable-for", unreachable];
    const engine = await Engine.dev({ flags });
    const endpoint = await Endpoint.start("requests", engine, { env });
    ends.push(() => engine.kill(), () => endpoint.kill());
    return { engine, endpoint };
  }

  it("a run whose endpoint dies in its first request is taken up after the lease", async () => {
    const { engine, endpoint } = await pair({ env: { DEADLY: "1" } });
    await assert.rejects(call(`${endpoint.url}/die`));
    await endpoint.exited;
    delete endpoint.env.DEADLY;
    await endpoint.start();
    const { runId, token, at } = endpoint.lines().find(({ kind }) => kind === "ack");
    assert.deepEqual(await value(outputUrl(engine, runId, token)), "recovered");
    assert.equal(endpoint.executions("kept", runId).length, 1);
    const [, again] = endpoint.executions("deadly", runId);
    assert.ok(again.at - at >= 1_900, `not before the lease: ${again.at - at} ms`);
    assert.ok(again.at - at < 8_000, `${again.at - at} ms`);
  });

  it("a run that answered but whose end was never reported ends after the lease", async () => {
    const { engine, endpoint } = await pair({ env: { DEADLY: "1" } });
    await call(`${endpoint.url}/forget`).catch(() => {});
    await endpoint.exited;
    delete endpoint.env.DEADLY;
    await endpoint.start();
    const { runId } = endpoint.lines().find(({ kind }) => kind === "ack");
    assert.equal((await engine.ended(runId)).status, "Completed");
    assert.equal(endpoint.executions("kept", runId).length, 1);
  });

  const asJson = { "content-type": "application/json" };
  const failures = {
    "502 with HTML": { status: 502, body: "<html>Bad Gateway</html>" },
    "503 with nothing": { status: 503, body: "" },
    "404 with JSON": { status: 404, body: '{"error":"no such route"}', headers: asJson },
    "200 with HTML": { status: 200, body: "<html>Welcome</html>" },
    "200 with JSON that looks like a result": { status: 200, body: '{"done":true}', headers: asJson },
    "206 with no SDK header": { status: 206, body: "[]", headers: asJson },
    "a broken connection": "hang up",
  };

  it("answers that are not the SDK's are retried and never taken for success", async () => {
    const { engine, endpoint } = await pair();
    await Promise.all(
      Object.entries(failures).map(async ([name, failure]) => {
        const front = await gateway(endpoint.url, (nth) => (nth <= 2 ? failure : undefined));
        ends.push(front.close);
        const run = await start(`${front.url}/several`);
        assert.deepEqual(await value(run.url), { sum: 6 }, name);
        for (const step of ["one", "two", "three"]) assert.equal(endpoint.executions(step, run.runId).length, 1, name);
        assert.equal(front.answers.length, 6, `${name}: ${front.answers}`);
        assert.equal((await engine.run(run.runId)).status, "Completed", name);
      }),
    );
  });

  it("a gateway that never lets through ends the run as failed, with its output an error", async () => {
    const { engine, endpoint } = await pair({ unreachable: "3s" });
    await Promise.all(
      [failures["502 with HTML"], failures["200 with JSON that looks like a result"]].map(async (failure) => {
        const front = await gateway(endpoint.url, () => failure);
        ends.push(front.close);
        const run = await start(`${front.url}/several`);
        const { status, json } = await output(run.url);
        assert.ok(status >= 500, `${status}`);
        assert.ok(json().error);
        assert.equal((await engine.run(run.runId)).status, "Failed");
        assert.ok(front.answers.length >= 3 && front.answers.length <= 7, `${front.answers}`);
      }),
    );
  });

  it("with --unreachable-for 0s the first call that is not answered fails the run", async () => {
    const { endpoint } = await pair({ unreachable: "0s" });
    const front = await gateway(endpoint.url, () => failures["502 with HTML"]);
    ends.push(front.close);
    const run = await start(`${front.url}/several`);
    assert.ok((await output(run.url)).status >= 500);
    assert.deepEqual(front.answers, [302, 502], "the client's own request passed");
  });

  it("an endpoint that is gone for good ends its run, and the stream with a terminal frame", async () => {
    const { engine, endpoint } = await pair({ unreachable: "3s" });
    const { frames } = await readStream(`${endpoint.url}/streaming`);
    const { url, runId } = frames.find(({ event }) => event === "inngest.redirect_info").data;
    const reading = followStream(url, { within: 30_000 });
    await endpoint.line("it streams", ({ kind, step }) => kind === "start" && step === "talk");
    await eventually("some is streamed", () => Date.now() > endpoint.executions("talk")[0].at + 500);
    await endpoint.kill();
    const read = await reading;
    const told = words(read.frames);
    assert.equal(told.at(-1), "failed");
    assert.equal(told.filter((word) => word === "failed").length, 1);
    assert.ok(told.includes("rollback"), "what the dead step streamed is rolled back");
    assert.equal(read.frames.at(-1).data.response.statusCode, 500);
    assert.equal((await engine.run(runId)).status, "Failed");
  });

  it("an endpoint that is gone for good ends its run for who waits", async () => {
    const { endpoint } = await pair({ unreachable: "3s" });
    const run = await start(`${endpoint.url}/several`);
    await endpoint.kill();
    const { status, json } = await output(run.url);
    assert.ok(status >= 500, `${status}`);
    assert.ok(json().error);
  });

  it("an endpoint that comes back in time loses nothing", async () => {
    const { endpoint } = await pair();
    const run = await start(`${endpoint.url}/several`);
    await endpoint.kill();
    // More failed calls than the step has tries.
    await pause(5_500);
    await endpoint.start();
    assert.deepEqual(await value(run.url), { sum: 6 });
    for (const step of ["one", "two", "three"]) assert.equal(endpoint.executions(step, run.runId).length, 1);
  });
});
