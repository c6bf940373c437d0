// Streaming: push, pipe, commits, rollbacks, and the stream that goes on after the first request.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { streamed } from "../harness/callbacks.mjs";
import { call } from "../harness/client.mjs";
import { Endpoint } from "../harness/endpoint.mjs";
import { Engine } from "../harness/engine.mjs";
import { assertStream } from "../harness/invariants.mjs";
import { followStream, framesOf, readStream, words } from "../harness/sse.mjs";
import { hash } from "../harness/wire.mjs";

const isRedirect = ({ event }) => event === "inngest.redirect_info";

describe("streaming", { concurrency: 8 }, () => {
  let engine, endpoint;
  before(async () => {
    engine = await Engine.dev();
    endpoint = await Endpoint.start("streaming", engine);
  });
  after(() => Promise.all([engine.stop(), endpoint.stop()]));

  /** Opens a run's stream by its direct stream, and gives where it goes on. */
  async function redirected(path) {
    const { frames } = await readStream(endpoint.url + path);
    const { runId, url } = frames.find(isRedirect).data;
    return { runId, url, direct: frames };
  }

  it("push: each value is a call, with the step that it came from", async () => {
    const { calls, response } = await streamed(`${endpoint.url}/push`, ["talk", "silent"]);
    assert.deepEqual(calls, [
      ["data", "outside", null],
      ["data", "Loading…", "talk"],
      ["data", { progress: 50 }, "talk"],
      ["data", null, "talk"],
      ["data", ["\n\n", "data: x"], "talk"],
      ["commit", "talk"],
      ["commit", "silent"],
    ]);
    assert.deepEqual([response.status, response.headers.get("x-own"), await response.text()], [202, "yes", "done"]);
  });

  const piped = [
    ["data", "one ", "iterable"],
    ["data", "two", "iterable"],
    ["commit", "iterable"],
  ];

  it("pipe: a ReadableStream, an async iterable, and a generator function", async () => {
    const { calls, response } = await streamed(`${endpoint.url}/pipe`, ["readable", "iterable", "factory"]);
    assert.deepEqual(calls, [
      ["data", "a", "readable"],
      ["data", "éb", "readable"],
      ["commit", "readable"],
      ...piped,
      ["data", "three ", "factory"],
      ["data", "four", "factory"],
      ["commit", "factory"],
    ]);
    assert.deepEqual(await response.json(), { readable: "aéb", iterable: "one two", factory: "three four" });
  });

  it("pipe: the three sources through the engine, after the first request", async () => {
    const { calls, response } = await streamed(`${endpoint.url}/pipe-async`, ["readable", "iterable", "factory"]);
    assert.equal(calls.filter(([kind]) => kind === "data").map(([, data]) => data).join(""), "aéone twothree");
    assert.deepEqual(calls.filter(([, , step]) => step === "iterable").concat([["commit", "iterable"]]), piped);
    assert.deepEqual(
      calls.filter(([kind]) => kind === "commit"),
      [["commit", "readable"], ["commit", "iterable"], ["commit", "factory"]],
    );
    assert.deepEqual(await response.json(), { readable: "aé", iterable: "one two", factory: "three" });
  });

  it("forty streams at once lose no commit, live or late", async () => {
    const expected = ["a", "é", "one ", "two", "three"];
    for (let round = 0; round < 2; round += 1) {
      await Promise.all(
        Array.from({ length: 20 }, async () => {
          const { url } = await redirected("/pipe-async");
          const live = await followStream(url);
          const late = await followStream(url);
          for (const { frames } of [live, late]) assertStream(frames, expected);
        }),
      );
    }
  });

  it("rollback: what a failed try streamed is rolled back, in the first request and after it", async () => {
    const { calls, response } = await streamed(`${endpoint.url}/rollback`, ["flaky"]);
    assert.deepEqual(calls.slice(0, 2), [["data", "try 1", "flaky"], ["rollback", "flaky"]]);
    assert.deepEqual(calls.slice(-2), [["data", "try 3", "flaky"], ["commit", "flaky"]]);
    // What comes after its step's report is known to have failed, and may be left out.
    assert.ok([0, 2].includes(calls.length - 4));
    assert.deepEqual(calls.slice(2, -2), [["data", "try 2", "flaky"], ["rollback", "flaky"]].slice(0, calls.length - 4));
    assert.deepEqual(await response.json(), { tries: 3 });
  });

  it("forty runs at once that fail and try again commit only the last try", async () => {
    await Promise.all(
      Array.from({ length: 40 }, async () => {
        const { url } = await redirected("/rollback");
        assertStream((await followStream(url)).frames, ["try 3"]);
        assertStream((await followStream(url)).frames, ["try 3"]);
      }),
    );
  });

  it("resume: the stream goes on by the engine after a sleep, and ends with the handler's own response", async () => {
    const { calls, response } = await streamed(`${endpoint.url}/mixed`, ["a", "b", "c"]);
    const plain = calls.filter(([, , step]) => step !== null);
    assert.deepEqual(plain.filter(([kind, step]) => !(kind === "commit" && step === "c")), [
      ["data", "a1", "a"],
      ["commit", "a"],
      ["data", "b1", "b"],
      ["data", "b2", "b"],
      ["commit", "b"],
    ]);
    assert.ok(calls.some(([kind, data, step]) => kind === "data" && data === "outside" && step === null));
    assert.equal(response.status, 418);
    assert.equal(response.headers.get("x-own"), "yes");
    assert.equal(await response.text(), "ABC");
  });

  it("the direct stream: metadata first, redirect_info after the first commit, no response if the run goes on", async () => {
    const { direct, runId } = await redirected("/mixed");
    assert.deepEqual(words(direct).slice(0, 3), ["metadata", 'stream:"a1"', "commit"]);
    assert.equal(direct[0].data.runId, runId);
    assert.equal(direct[2].data.hashedStepId, hash("a"));
    assert.ok(!direct.some(({ event }) => event === "inngest.response"));
  });

  it("an endpoint that streams nothing still ends its stream with a response", async () => {
    const { calls, response } = await streamed(`${endpoint.url}/quiet`, ["a"]);
    assert.deepEqual(calls.filter(([kind]) => kind !== "commit"), []);
    assert.deepEqual([response.status, await response.json()], [200, { quiet: true }]);
  });

  it("a client that does not ask for a stream gets none", async () => {
    const response = await call(`${endpoint.url}/push`);
    assert.deepEqual([response.status, await response.text()], [202, "done"]);
  });

  it("a run that fails ends its stream with a failed response", async () => {
    const { calls, response } = await streamed(`${endpoint.url}/fails`, ["hopeless"]);
    // As above, it may be left out.
    const told = [["data", "before the end", "hopeless"], ["rollback", "hopeless"]];
    assert.deepEqual(calls, told.slice(0, calls.length && 2));
    assert.equal(response.status, 500);
    assert.match(await response.text(), /it is over/);
  });

  it("a function error on the last attempt ends the stream too, which the SDK itself does not", async () => {
    const { response, runId } = await streamed(`${endpoint.url}/fails-outside`);
    assert.equal(response.status, 500);
    assert.match(await response.text(), /outside of steps/);
    assert.equal((await engine.ended(runId)).status, "Failed");
  });

  it("the engine's stream is an event stream that every origin may read", async () => {
    const { url } = await redirected("/quiet");
    const response = await fetch(url, { headers: { origin: "https://app.example.com" } });
    assert.equal(response.status, 200);
    assert.match(response.headers.get("content-type"), /^text\/event-stream/);
    assert.match(response.headers.get("cache-control"), /no-cache/);
    assert.equal(response.headers.get("access-control-allow-origin"), "*");
    const frames = [];
    for await (const frame of framesOf(response)) frames.push(frame);
    assert.equal(words(frames).at(-1), "succeeded");
  });

  it("a wrong stream token is refused", async () => {
    const response = await fetch(`${engine.url}/v1/realtime/sse?token=wrong`);
    assert.equal(response.status, 401);
    assert.equal(typeof (await response.json()).error, "string");
  });

  it("parallel steps stream at the same time, each in its own order, and one that fails is rolled back", async () => {
    await Promise.all(
      [1, 2, 3, 4].map(async () => {
        const { url } = await redirected("/parallel");
        const live = await followStream(url);
        const late = await followStream(url);
        for (const name of ["a", "b", "c"]) {
          const own = ({ event, data }) => data.hashedStepId === hash(name) || event === "inngest.response";
          const expected = Array.from({ length: 10 }, (_, i) => `${name}${i}`);
          assertStream(live.frames.filter(own), expected);
          assertStream(late.frames.filter(own), expected);
        }
      }),
    );
  });

  it("late readers get a replay, as often as they ask", async () => {
    const { url, runId } = await redirected("/count");
    const live = await followStream(url);
    await engine.ended(runId);
    const late = await followStream(url);
    const again = await followStream(url);
    const numbers = Array.from({ length: 30 }, (_, number) => `stream:${number}`);
    assert.deepEqual(words(late.frames).filter((word) => word.startsWith("stream")), numbers);
    assert.deepEqual(late.frames, live.frames);
    assert.deepEqual(again.frames, live.frames);
    assert.equal(words(late.frames).at(-1), "succeeded");
  });

  it("Last-Event-ID: a reader whose connection breaks goes on after the last frame, live and late", async () => {
    const { url } = await redirected("/count-slowly");
    const [whole, cut] = await Promise.all([followStream(url), followStream(url, { cutAfter: 4 })]);
    assert.ok(cut.connections >= 8, `${cut.connections} connections`);
    assert.deepEqual(cut.frames, whole.frames);
    const late = await followStream(url, { cutAfter: 5 });
    assert.deepEqual(late.frames, whole.frames);
    const ids = whole.frames.map(({ id }) => id);
    assert.ok(ids.every(Boolean), "each frame has an id");
    assert.equal(new Set(ids).size, ids.length, "ids differ");
  });

  it("chunks are passed on as they come, not at the end of their step", async () => {
    const { url } = await redirected("/count-slowly");
    const arrived = [];
    for await (const { event } of framesOf(await fetch(url))) {
      if (event === "inngest.stream") arrived.push(Date.now());
      if (event === "inngest.commit") break;
    }
    // Ten numbers, 100 ms apart.
    assert.equal(arrived.length, 10);
    assert.ok(arrived.at(-1) - arrived[0] >= 500, `all within ${arrived.at(-1) - arrived[0]} ms`);
  });

  it("a reader that goes away ends its stream and not the run", async () => {
    const { url, runId } = await redirected("/count-slowly");
    await readStream(url, { until: ({ event }) => event === "inngest.stream" });
    assert.equal((await engine.ended(runId)).status, "Completed");
  });

  it("fetchWithStream: an abort rejects", async () => {
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 1_500);
    await assert.rejects(streamed(`${endpoint.url}/count-slowly`, [], { fetchOpts: { signal: abort.signal } }), {
      name: "AbortError",
    });
  });
});
