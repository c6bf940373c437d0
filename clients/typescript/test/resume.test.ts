// Streams over several connections: cuts, the move to the waiting URL, refusals and waits.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ConnectionLostError,
  type Frame,
  ProblemError,
  ProtocolError,
  type Reconnecting,
  fetchWithStream,
  streamFrames,
} from "@onward/client";
import { FAST, Script, begin, cutAfter, helloRun, recorder, serve, succeeded, wire } from "./server.js";

const HELLO = [
  'metadata {"runId":"run1"}',
  'data {"data":"Hel","hashedStepId":"a"}',
  'data {"data":"lo ✓","hashedStepId":"a"}',
  'commit {"hashedStepId":"a"}',
  'data {"data":{"done":true},"hashedStepId":null}',
  "done",
];

test("a cut connection is resumed at the relative waiting URL after the last frame", async (t) => {
  const script = helloRun("/wait?token=t");
  const { url, calls } = await serve(t, (call, res) => {
    if (call.path === "/app/hello") cutAfter(begin(res), script.first(3) + "id: 4\nevent: inngest.stream\nda");
    else begin(res).end(script.after(call.headers["last-event-id"]));
  });
  const { lines, callbacks } = recorder();
  const reconnects: Reconnecting[] = [];
  const response = await fetchWithStream(`${url}/app/hello`, {
    ...FAST,
    ...callbacks,
    fetchOpts: { method: "POST", body: "x" },
    onReconnecting: (args) => reconnects.push(args),
  });
  assert.equal(await response.text(), "Hello");
  assert.deepEqual(lines, HELLO);
  const second = calls[1];
  assert.deepEqual([second?.method, second?.path, second?.body], ["GET", "/wait?token=t", ""]);
  assert.deepEqual([second?.headers["accept"], second?.headers["last-event-id"]], ["text/event-stream", "3"]);
  assert.equal(calls.length, 2);
  assert.deepEqual(
    reconnects.map(({ attempt, error }) => [attempt, error instanceof Error]),
    [[1, true]],
  );
});

test("a waiting URL in a resumed stream is resolved against that one, and the newest counts", async (t) => {
  const script = helloRun("waits/1");
  const { url, calls } = await serve(t, (call, res) => {
    if (call.path === "/a/hello") cutAfter(begin(res), script.first(2));
    else if (call.path === "/a/waits/1")
      cutAfter(begin(res), wire("2.5", "redirect_info", { runId: "run1", url: "2" }));
    else begin(res).end(script.after("2"));
  });
  const { lines, callbacks } = recorder();
  await fetchWithStream(`${url}/a/hello`, { ...FAST, ...callbacks });
  assert.deepEqual(lines, HELLO);
  assert.deepEqual(
    calls.map(({ path }) => path),
    ["/a/hello", "/a/waits/1", "/a/waits/2"],
  );
});

test("the stream of an engine without ids goes on at the redirect URL, without Last-Event-ID", async (t) => {
  const run = (name: string, data: unknown): string => wire(null, name, data);
  const { url, calls } = await serve(t, (call, res) => {
    if (call.path === "/direct") {
      begin(res).end(
        run("metadata", { runId: "r" }) +
          run("stream", { data: 1, hashedStepId: "a" }) +
          run("commit", { hashedStepId: "a" }) +
          run("redirect_info", { runId: "r", url: `${url}/sse?token=t` }),
      );
    } else {
      begin(res).write(
        ":\n\n" +
          run("metadata", { runId: "r" }) +
          run("stream", { data: 2, hashedStepId: "b" }) +
          run("rollback", { hashedStepId: "b" }) +
          run("metadata", { runId: "r" }) +
          run("response", succeeded("ok")),
      );
    }
  });
  const { lines, callbacks } = recorder();
  const response = await fetchWithStream(`${url}/direct`, { ...callbacks, resume: false });
  assert.equal(await response.text(), "ok");
  assert.deepEqual(lines, [
    'metadata {"runId":"r"}',
    'data {"data":1,"hashedStepId":"a"}',
    'commit {"hashedStepId":"a"}',
    'data {"data":2,"hashedStepId":"b"}',
    'rollback {"hashedStepId":"b"}',
    "done",
  ]);
  assert.equal(calls[1]?.headers["last-event-id"], undefined);
});

test("a server that cannot answer now is asked again, also after it was gone", async (t) => {
  const script = helloRun("/wait");
  let tries = 0;
  const { url } = await serve(t, (call, res) => {
    if (call.path === "/hello") return cutAfter(begin(res), script.first(2));
    tries += 1;
    if (tries === 1) res.writeHead(503).end();
    else if (tries === 2) res.writeHead(429, { "retry-after": "0" }).end();
    else if (tries === 3) res.destroy();
    else if (tries === 4) res.writeHead(202, { "retry-after": new Date(0).toUTCString() }).end("{}");
    else if (tries === 5) begin(res).end(":\n\n");
    else begin(res).end(script.after(call.headers["last-event-id"]));
  });
  const { lines, callbacks } = recorder();
  const attempts: number[] = [];
  await fetchWithStream(`${url}/hello`, {
    ...FAST,
    ...callbacks,
    onReconnecting: ({ attempt }) => attempts.push(attempt),
  });
  assert.deepEqual(lines, HELLO);
  assert.deepEqual(attempts, [1, 2, 3, 4, 5, 6]);
});

test("frames that come set the count of attempts back", async (t) => {
  const script = helloRun("/wait");
  const { url } = await serve(t, (call, res) => {
    if (call.path === "/hello") return cutAfter(begin(res), script.first(2));
    cutAfter(begin(res), script.frames[Number(call.headers["last-event-id"])] ?? "");
  });
  const { lines, callbacks } = recorder();
  const attempts: number[] = [];
  const onReconnecting = ({ attempt }: Reconnecting): number => attempts.push(attempt);
  await fetchWithStream(`${url}/hello`, { ...callbacks, onReconnecting, resume: { attempts: 1, delayMs: 1 } });
  assert.deepEqual(lines, HELLO);
  assert.deepEqual(attempts, [1, 1, 1, 1, 1]);
});

test("after the attempts that may fail the stream is lost, with all that is needed to go on later", async (t) => {
  const script = helloRun("/wait");
  let up = false;
  const { url, calls } = await serve(t, (call, res) => {
    if (call.path === "/hello") cutAfter(begin(res), script.first(3));
    else if (up) begin(res).end(script.after(call.headers["last-event-id"]));
    else
      res.writeHead(503, { "content-type": "application/problem+json" }).end('{"title":"The server is shutting down"}');
  });
  const { lines, callbacks } = recorder();
  const lost: unknown = await fetchWithStream(`${url}/hello`, {
    ...callbacks,
    resume: { attempts: 3, delayMs: 1 },
  }).catch((e: unknown) => e);
  assert.ok(lost instanceof ConnectionLostError);
  assert.match(lost.message, /3 attempts .*: The server is shutting down$/);
  assert.deepEqual([lost.runId, lost.waitingUrl, lost.lastEventId], ["run1", `${url}/wait`, "3"]);
  assert.equal(calls.length, 4);
  assert.deepEqual(lines, [...HELLO.slice(0, 2), `error ${JSON.stringify(lost.message)}`, "done"]);

  up = true;
  const rest: string[] = [];
  const attach = { lastEventId: lost.lastEventId ?? "" };
  for await (const frame of streamFrames(lost.waitingUrl ?? "", { attach })) rest.push(frame.type);
  assert.deepEqual(rest, ["stream", "commit", "stream", "response"]);
});

test("a stream that ends before it said where it goes on is lost", async (t) => {
  const { url, calls } = await serve(t, (call, res) => {
    if (call.path === "/cut") cutAfter(begin(res), helloRun("/wait").first(1));
    else begin(res).end(helloRun("/wait").first(1));
  });
  for (const path of ["/cut", "/end"]) {
    const { lines, callbacks } = recorder();
    await assert.rejects(fetchWithStream(url + path, { ...FAST, ...callbacks }), ConnectionLostError);
    assert.deepEqual([lines[0], lines[1]?.startsWith("error"), lines[2]], [HELLO[0], true, "done"]);
  }
  assert.equal(calls.length, 2);
});

test("without resuming, a cut is the end, but the planned move is made", async (t) => {
  const script = helloRun("/wait");
  const { url } = await serve(t, (call, res) => {
    if (call.path === "/cut") cutAfter(begin(res), script.first(3));
    else begin(res).end(call.path === "/moves" ? script.first(3) : script.after(call.headers["last-event-id"]));
  });
  await assert.rejects(fetchWithStream(`${url}/cut`, { resume: false }), ConnectionLostError);
  const { lines, callbacks } = recorder();
  await fetchWithStream(`${url}/moves`, { ...callbacks, resume: false });
  assert.deepEqual(lines, HELLO);
});

for (const [status, slug] of [
  [401, "token-invalid"],
  [404, "run-not-found"],
  [410, "run-gone"],
] as const) {
  test(`a waiting URL that answers ${status} ends it with the problem`, async (t) => {
    const { url, calls } = await serve(t, (call, res) => {
      if (call.path === "/hello") return cutAfter(begin(res), helloRun("/wait").first(2));
      const type = `https://example.com/docs/errors/${slug}.md`;
      res.writeHead(status, { "content-type": "application/problem+json" });
      res.end(JSON.stringify({ type, title: "No", status, detail: "because", instance: "/runs/run1" }));
    });
    const { lines, callbacks } = recorder();
    const problem: unknown = await fetchWithStream(`${url}/hello`, { ...FAST, ...callbacks }).catch((e: unknown) => e);
    assert.ok(problem instanceof ProblemError);
    assert.deepEqual(
      [problem.code, problem.status, problem.instance, problem.message],
      [slug, status, "/runs/run1", "No: because"],
    );
    assert.deepEqual(lines, [HELLO[0], 'error "No: because"', "done"]);
    assert.equal(calls.length, 2);
  });
}

test("a problem without the problem format still has its status", async () => {
  const problem = await ProblemError.fromResponse(new Response("<h1>", { status: 404, statusText: "Not Found" }));
  assert.deepEqual(
    [problem.code, problem.status, problem.message, problem.instance],
    [null, 404, "404 Not Found", null],
  );
  for (const [type, code] of [
    ["about:blank", null],
    ["urn:x:y", "y"],
    ["/errors/a-b/", "a-b"],
    [undefined, null],
  ] as const) {
    const headers = { "content-type": "application/problem+json; charset=utf-8" };
    assert.equal(
      (await ProblemError.fromResponse(new Response(JSON.stringify({ type }), { status: 400, headers }))).code,
      code,
    );
  }
});

test("a plain answer of the waiting URL with the run's id is the final response, whatever its status", async (t) => {
  let tries = 0;
  const { url } = await serve(t, (call, res) => {
    if (call.path === "/hello") return cutAfter(begin(res), helloRun("/wait").first(2));
    tries += 1;
    res.writeHead(409, { "onward-run-id": "run1", "content-type": "text/plain", "content-length": 8 });
    if (tries === 1) cutAfter(res, "sold");
    else res.end("sold out");
  });
  const { lines, callbacks } = recorder();
  const response = await fetchWithStream(`${url}/hello`, { ...FAST, ...callbacks });
  assert.deepEqual(
    [response.status, await response.text(), response.headers.get("onward-run-id")],
    [409, "sold out", "run1"],
  );
  assert.equal(tries, 2, "a body that was cut is asked for again");
  assert.deepEqual(lines, [HELLO[0], "done"]);

  const frames: Frame[] = [];
  for await (const frame of streamFrames(`${url}/wait`, { attach: true })) frames.push(frame);
  assert.ok(frames[0]?.type === "response" && frames.length === 1);
  assert.deepEqual([frames[0].response.statusCode, frames[0].response.body], [409, "sold out"]);
});

test("a waiting URL that answers with some other page is a protocol error", async (t) => {
  const { url } = await serve(t, (call, res) => {
    if (call.path === "/hello") return cutAfter(begin(res), helloRun("/wait").first(2));
    res.writeHead(200, { "content-type": "text/html" }).end("<h1>Sign in</h1>");
  });
  await assert.rejects(fetchWithStream(`${url}/hello`, FAST), ProtocolError);
});

test("the caller's headers go to the endpoint's own origin only, those about its body nowhere", async (t) => {
  const script = helloRun("/wait");
  const engine = await serve(t, (call, res) => begin(res).end(script.after(call.headers["last-event-id"])));
  const { url, calls } = await serve(t, (call, res) => {
    if (call.path === "/own") return cutAfter(begin(res), script.first(2));
    if (call.path === "/other") return cutAfter(begin(res), helloRun(`${engine.url}/wait`).first(2));
    begin(res).end(script.after(call.headers["last-event-id"]));
  });
  const headers = { authorization: "Bearer x", "content-type": "text/plain", "idempotency-key": "k", prefer: "wait=1" };
  const fetchOpts = { method: "POST", body: "x", headers };
  await fetchWithStream(`${url}/own`, { ...FAST, fetchOpts });
  await fetchWithStream(`${url}/other`, { ...FAST, fetchOpts });
  const names = (call: { headers: object } | undefined): string[] =>
    Object.keys(call?.headers ?? {}).filter((name) => name in headers || name === "last-event-id");
  assert.deepEqual(names(calls[1]).sort(), ["authorization", "last-event-id"]);
  assert.deepEqual(names(engine.calls[0]), ["last-event-id"]);
  assert.deepEqual(
    [calls[1]?.headers["cache-control"], engine.calls[0]?.headers["cache-control"]],
    ["no-cache", "no-cache"],
  );
});

test("a run is read from its start at its waiting URL, with retries from the first request on", async (t) => {
  const script = helloRun("/wait");
  let tries = 0;
  const { url } = await serve(t, (call, res) => {
    tries += 1;
    if (tries < 3) res.writeHead(502).end();
    else if (tries === 3) cutAfter(begin(res), script.first(4));
    else begin(res).end(script.after(call.headers["last-event-id"]));
  });
  const { lines, callbacks } = recorder();
  const response = await fetchWithStream(`${url}/wait`, {
    ...FAST,
    ...callbacks,
    attach: true,
    fetchOpts: { method: "POST" },
  });
  assert.equal(await response.text(), "Hello");
  assert.deepEqual(lines, HELLO);
});

test("streamFrames gives every frame once, with ids and the resolved waiting URL", async (t) => {
  const script = helloRun("/wait");
  const { url } = await serve(t, (call, res) => {
    if (call.path === "/hello") cutAfter(begin(res), script.first(5));
    else begin(res).end(wire("1", "metadata", { runId: "run1" }) + script.after(call.headers["last-event-id"]));
  });
  const frames: Frame[] = [];
  for await (const frame of streamFrames(new URL(`${url}/hello`), FAST)) frames.push(frame);
  assert.deepEqual(
    frames.map(({ id, type }) => `${id} ${type}`),
    ["1 metadata", "2 redirect_info", "3 stream", "4 stream", "5 commit", "6 stream", "7 response"],
  );
  assert.ok(frames[1]?.type === "redirect_info" && frames[1].url === `${url}/wait`);
});

test("what onReconnecting throws rejects the promise and is no stream error", async (t) => {
  const { url } = await serve(t, (_, res) =>
    cutAfter(
      begin(res),
      new Script([
        ["metadata", { runId: "r" }],
        ["redirect_info", { runId: "r", url: "/w" }],
      ]).first(2),
    ),
  );
  const { lines, callbacks } = recorder();
  const mine = new Error("mine");
  await assert.rejects(
    fetchWithStream(url, {
      ...callbacks,
      onReconnecting: () => {
        throw mine;
      },
    }),
    mine,
  );
  assert.deepEqual(lines, ['metadata {"runId":"r"}', "done"]);
});
