// `fetchWithStream` over one connection: the callbacks, their order, and what the promise gives.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ProtocolError, fetchWithStream, streamFrames } from "@onward/client";
import { begin, cutAfter, helloRun, recorder, serve, succeeded, wire } from "./server.js";

test("a run's callbacks come in the order of its frames, done last", async (t) => {
  const { url } = await serve(t, (_, res) => begin(res).end(helloRun("/wait").first(7)));
  const { lines, callbacks } = recorder();
  const response = await fetchWithStream(`${url}/hello`, callbacks);
  assert.equal(await response.text(), "Hello");
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "text/plain");
  assert.deepEqual(lines, [
    'metadata {"runId":"run1"}',
    'data {"data":"Hel","hashedStepId":"a"}',
    'data {"data":"lo ✓","hashedStepId":"a"}',
    'commit {"hashedStepId":"a"}',
    'data {"data":{"done":true},"hashedStepId":null}',
    "done",
  ]);
});

test("it resolves on the response although the stream stays open, and closes the connection", async (t) => {
  const { url, calls } = await serve(t, (_, res) => begin(res).write(helloRun("/wait").first(7)));
  const response = await fetchWithStream(url);
  assert.equal(await response.text(), "Hello");
  await calls[0]?.closed;
});

test("an answer that is no stream is returned as it is", async (t) => {
  const { url } = await serve(t, (_, res) => {
    res.writeHead(413, { "content-type": "application/problem+json", "x-a": "1" });
    res.end('{"title":"too large"}');
  });
  const { lines, callbacks } = recorder();
  const response = await fetchWithStream(url, callbacks);
  assert.equal(response.status, 413);
  assert.equal(response.headers.get("x-a"), "1");
  assert.equal(response.url, `${url}/`);
  assert.deepEqual(await response.json(), { title: "too large" });
  assert.deepEqual(lines, ["done"]);
});

test("a redirect to an endpoint's plain answer is followed", async (t) => {
  const { url } = await serve(t, (call, res) => {
    if (call.path === "/wait") res.end("later");
    else res.writeHead(303, { location: "/wait" }).end();
  });
  const response = await fetchWithStream(`${url}/start`, { fetchOpts: { method: "POST", body: "x" } });
  assert.equal(await response.text(), "later");
});

test("a run that failed gives its message and a response with status 500", async (t) => {
  const failed = {
    status: "failed",
    response: { body: '"card declined"', statusCode: 500, headers: { "content-type": "application/json" } },
  };
  const bytes =
    wire("1", "metadata", { runId: "r" }) +
    wire("2", "rollback", { hashedStepId: "a" }) +
    wire("3", "response", failed);
  const { url } = await serve(t, (_, res) => begin(res).end(bytes));
  const { lines, callbacks } = recorder();
  const response = await fetchWithStream(url, callbacks);
  assert.equal(response.status, 500);
  assert.equal(await response.json(), "card declined");
  assert.deepEqual(lines, ['metadata {"runId":"r"}', 'rollback {"hashedStepId":"a"}', 'error "card declined"', "done"]);
});

test("the caller's request goes out with one more header, and its options stay as they were", async (t) => {
  const { url, calls } = await serve(t, (_, res) => begin(res).end(wire("1", "response", succeeded("ok"))));
  const forms = [
    { "X-A": "1", accept: "text/html" },
    new Headers({ "X-A": "1" }),
    [["X-A", "1"]] satisfies [string, string][],
  ];
  for (const headers of forms) {
    const before = JSON.stringify([...new Headers(headers)]);
    await fetchWithStream(url, { fetchOpts: { method: "POST", body: "input", headers } });
    assert.equal(JSON.stringify([...new Headers(headers)]), before);
  }
  assert.equal(calls.length, 3);
  for (const { method, headers, body } of calls) {
    assert.deepEqual([method, headers["accept"], headers["x-a"], body], ["POST", "text/event-stream", "1", "input"]);
  }
});

test("the given fetch is used, with the URL as given and without a receiver", async () => {
  const seen: unknown[] = [];
  async function fetch(this: unknown, url: string): Promise<Response> {
    seen.push(this, url);
    return new Response(wire(null, "response", succeeded("ok")), {
      headers: { "content-type": "Text/Event-Stream; charset=utf-8" },
    });
  }
  const response = await fetchWithStream("/relative", { fetch });
  assert.equal(await response.text(), "ok");
  assert.deepEqual(seen, [undefined, "/relative"]);
});

test("a server that cannot be reached rejects with what fetch threw", async () => {
  const { lines, callbacks } = recorder();
  const refused = new TypeError("refused");
  const fetch = (): Promise<Response> => Promise.reject(refused);
  await assert.rejects(fetchWithStream("http://localhost/", { ...callbacks, fetch }), refused);
  assert.deepEqual(lines, ['error "refused"', "done"]);
});

test("a malformed frame rejects with a protocol error and is not retried", async (t) => {
  const { url, calls } = await serve(t, (_, res) => {
    begin(res).write(helloRun("/wait").first(2) + "event: inngest.commit\ndata: {\n\n");
  });
  const { lines, callbacks } = recorder();
  await assert.rejects(fetchWithStream(url, callbacks), ProtocolError);
  assert.deepEqual(lines, [
    'metadata {"runId":"run1"}',
    'error "the data of an inngest.commit frame is not JSON"',
    "done",
  ]);
  assert.equal(calls.length, 1);
  await calls[0]?.closed;
});

test("a response that HTTP does not allow rejects, told once", async (t) => {
  const response = { body: '"x"', statusCode: 999, headers: {} };
  const { url } = await serve(t, (_, res) => begin(res).end(wire("1", "response", { status: "failed", response })));
  const { lines, callbacks } = recorder();
  await assert.rejects(fetchWithStream(url, callbacks), ProtocolError);
  assert.deepEqual(lines, ['error "the run\'s response is not one that HTTP allows"', "done"]);
});

test("frames of other names are skipped", async (t) => {
  const bytes = wire("1", "metadata", { runId: "r" }) + wire("2", "later", 1) + wire("3", "response", succeeded("ok"));
  const { url } = await serve(t, (_, res) => begin(res).end(bytes));
  assert.equal(await (await fetchWithStream(url)).text(), "ok");
});

for (const name of ["onMetadata", "onData", "onCommit"] as const) {
  test(`what ${name} throws rejects the promise, and the connection is closed`, async (t) => {
    const { url, calls } = await serve(t, (_, res) => begin(res).write(helloRun("/wait").first(7)));
    const { lines, callbacks } = recorder();
    const mine = new Error("mine");
    const thrower = {
      [name]: () => {
        throw mine;
      },
    };
    await assert.rejects(fetchWithStream(url, { ...callbacks, ...thrower }), mine);
    assert.equal(lines.at(-1), "done");
    assert.ok(!lines.some((line) => line.startsWith("error")));
    await calls[0]?.closed;
  });
}

test("what the last callbacks throw rejects, but never hides the stream's own error", async (t) => {
  const { url } = await serve(t, (call, res) => {
    if (call.path === "/good") begin(res).end(helloRun("/wait").first(7));
    else cutAfter(begin(res), helloRun("/wait").first(1));
  });
  const mine = new Error("mine");
  const fail = (): void => {
    throw mine;
  };
  await assert.rejects(fetchWithStream(`${url}/good`, { onDone: fail }), mine);
  await assert.rejects(fetchWithStream(`${url}/bad`, { onDone: fail, onStreamError: fail }), {
    name: "ConnectionLostError",
  });
});

test("streamFrames gives a response frame where the endpoint does not stream", async (t) => {
  const { url } = await serve(t, (call, res) => {
    if (call.path === "/text") res.writeHead(201, { "set-cookie": ["a=1", "b=2"] }).end("é");
    else res.writeHead(503).end(Uint8Array.of(255, 0));
  });
  const frames = [];
  for (const path of ["/text", "/bytes"]) for await (const frame of streamFrames(url + path)) frames.push(frame);
  assert.equal(frames.length, 2);
  const [text, bytes] = frames;
  assert.ok(text?.type === "response" && bytes?.type === "response");
  assert.deepEqual([text.status, text.response.statusCode, text.response.body], ["succeeded", 201, "é"]);
  assert.deepEqual(
    text.response.headerPairs?.filter(([name]) => name === "set-cookie").map(([, value]) => value),
    ["a=1", "b=2"],
  );
  assert.deepEqual([bytes.status, bytes.response.statusCode], ["failed", 503]);
  assert.deepEqual([bytes.response.body, bytes.response.bodyEncoding], ["/wA=", "base64"]);
});

test("leaving the loop over streamFrames closes the connection", async (t) => {
  const { url, calls } = await serve(t, (_, res) => begin(res).write(helloRun("/wait").first(3)));
  for await (const frame of streamFrames(url)) if (frame.type === "stream") break;
  await calls[0]?.closed;
});

test("streamFrames asks nothing before its first frame is asked for", async (t) => {
  const { url, calls } = await serve(t, (_, res) => res.end());
  streamFrames(url);
  assert.equal(calls.length, 0);
});

test("options outside their limits are refused", async () => {
  await assert.rejects(fetchWithStream("http://localhost/", { idleTimeoutMs: -1 }), RangeError);
  await assert.rejects(fetchWithStream("http://localhost/", { resume: { attempts: Number.NaN } }), RangeError);
});
