// The client of the published inngest package works against a Rust endpoint unchanged.
//
// Its version 4.24.0 calls neither onStreamError nor onDone, though it documents both.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { fetchWithStream } from "inngest/experimental/durable-endpoints/client";
import { cases, expectedCalls, recorder, startServer } from "./server.mjs";

describe("the published client", () => {
  let server;
  before(async () => {
    server = await startServer();
  });
  after(() => server.kill());

  for (const each of cases) {
    // It takes bodies for text.
    if (each.response.bodyBase64) continue;
    it(each.name, async () => {
      const { calls, callbacks } = recorder();
      const response = await fetchWithStream(`${server.url}${each.path}`, callbacks);
      const [first, ...rest] = calls;
      assert.equal(first[0], "metadata");
      assert.match(first[1].runId, /^[0-9A-HJKMNP-TV-Z]{26}$/);
      assert.deepEqual(rest, expectedCalls(each));
      assert.equal(response.status, each.response.statusCode);
      assert.equal(await response.text(), each.response.body);
      for (const [name, value] of Object.entries(each.response.headers ?? {})) {
        assert.equal(response.headers.get(name), value);
      }
    });
  }

  it("an endpoint that does not stream gives its response as it is", async () => {
    const { calls, callbacks } = recorder();
    const response = await fetchWithStream(`${server.url}/unwrapped`, callbacks);
    assert.equal(await response.text(), "unwrapped");
    assert.deepEqual(calls, []);
  });

  it("an event from outside wakes a run that it streams", async () => {
    const { calls, callbacks } = recorder();
    const streaming = fetchWithStream(`${server.url}/approval?id=7`, {
      ...callbacks,
      onCommit: (commit) => {
        callbacks.onCommit(commit);
        const event = { name: "approval/received", data: { id: "7", by: "Ada" } };
        void fetch(`${server.url}/events`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(event) });
      },
    });
    assert.equal(await (await streaming).text(), "Ada");
    assert.deepEqual(calls.map(([name]) => name), ["metadata", "data", "commit"]);
  });

  it("an abort ends the stream and not the run", async () => {
    const abort = new AbortController();
    let runId;
    const streaming = fetchWithStream(`${server.url}/approval?id=8`, {
      fetchOpts: { signal: abort.signal },
      onMetadata: (metadata) => (runId = metadata.runId),
      onCommit: () => abort.abort(),
    });
    await assert.rejects(streaming);
    assert.ok(runId);
    const again = await fetch(`${server.url}/unwrapped`);
    assert.equal(again.status, 200);
  });
});
