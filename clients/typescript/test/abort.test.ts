// Aborts: in every phase at once, with the signal's reason, and with nothing left behind.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { type FetchWithStreamOptions, fetchWithStream, streamFrames } from "@onward/client";
import { type Call, begin, cutAfter, helloRun, recorder, serve } from "./server.js";

/** Counts the client's timers that run, from here to the test's end; the platform's `fetch` has some of its own. */
function countTimers(t: TestContext): Set<unknown> {
  const running = new Set<unknown>();
  const { setTimeout, clearTimeout } = globalThis;
  const start = (work: () => void, ms?: number): unknown => {
    const timer = setTimeout(() => {
      running.delete(timer);
      work();
    }, ms);
    if (/dist\/time\.js/.test(new Error().stack ?? "")) running.add(timer);
    return timer;
  };
  const stop = (timer?: NodeJS.Timeout): void => {
    running.delete(timer);
    clearTimeout(timer);
  };
  t.mock.method(globalThis, "setTimeout", start);
  t.mock.method(globalThis, "clearTimeout", stop);
  return running;
}

/** Expects an abort: the reason, no error, done once and last, no timers, no connections. */
async function expectAbort(
  t: TestContext,
  calls: Call[],
  run: (options: FetchWithStreamOptions, abort: () => void) => Promise<unknown>,
): Promise<string[]> {
  const timers = countTimers(t);
  const controller = new AbortController();
  const reason = new Error("enough");
  const { lines, callbacks } = recorder();
  const options = { ...callbacks, fetchOpts: { signal: controller.signal } };
  await assert.rejects(
    run(options, () => controller.abort(reason)),
    reason,
  );
  assert.deepEqual(
    lines.filter((line) => line.startsWith("error")),
    [],
  );
  assert.deepEqual(
    lines.filter((line) => line === "done"),
    ["done"],
  );
  assert.equal(lines.at(-1), "done");
  await Promise.all(calls.map(({ closed }) => closed));
  await turn();
  assert.equal(timers.size, 0);
  return lines;
}

test("an abort before the request makes none", async (t) => {
  const { url, calls } = await serve(t, (_, res) => res.end());
  await expectAbort(t, calls, (options, abort) => {
    abort();
    return fetchWithStream(url, options);
  });
  assert.equal(calls.length, 0);
});

test("an abort while the endpoint has not answered", async (t) => {
  let asked = (): void => undefined;
  const { url, calls } = await serve(t, () => asked());
  await expectAbort(t, calls, (options, abort) => {
    asked = abort;
    return fetchWithStream(url, options);
  });
  assert.equal(calls.length, 1);
});

test("an abort within the stream: no frame more, though more had come in the same chunk", async (t) => {
  const { url, calls } = await serve(t, (_, res) => begin(res).write(helloRun("/wait").first(7)));
  const lines = await expectAbort(t, calls, (options, abort) =>
    fetchWithStream(url, {
      ...options,
      onData: (args) => {
        options.onData?.(args);
        abort();
      },
    }),
  );
  assert.deepEqual(lines, ['metadata {"runId":"run1"}', 'data {"data":"Hel","hashedStepId":"a"}', "done"]);
});

for (const frames of [1, 3]) {
  test(`an abort while the stream is silent after ${frames} frames`, async (t) => {
    const { url, calls } = await serve(t, (_, res) => begin(res).write(helloRun("/wait").first(frames)));
    await expectAbort(t, calls, (options, abort) =>
      fetchWithStream(url, {
        ...options,
        onMetadata: (args) => {
          options.onMetadata?.(args);
          setImmediate(abort);
        },
      }),
    );
  });
}

test("an abort while a delay before an attempt goes on", async (t) => {
  const { url, calls } = await serve(t, (_, res) => cutAfter(begin(res), helloRun("/wait").first(3)));
  await expectAbort(t, calls, (options, abort) =>
    fetchWithStream(url, {
      ...options,
      resume: { delayMs: 60_000, delayMaxMs: 60_000 },
      onReconnecting: () => setImmediate(abort),
    }),
  );
  assert.equal(calls.length, 1);
});

test("an abort while the waiting URL has not answered, and while its final response comes", async (t) => {
  let asked = (): void => undefined;
  for (const path of ["/silent", "/half"]) {
    const { url, calls } = await serve(t, (call, res) => {
      if (call.path === "/hello") return void begin(res).end(helloRun(path).first(3));
      if (call.path === "/half") res.writeHead(200, { "onward-run-id": "run1" }).write("half");
      setImmediate(asked);
    });
    await expectAbort(t, calls, (options, abort) => {
      asked = abort;
      return fetchWithStream(`${url}/hello`, options);
    });
    t.mock.restoreAll();
    assert.equal(calls.length, 2);
  }
});

test("an abort ends a wait for a fetch that does not know signals, and its late answer is closed", async (t) => {
  let closed = false;
  let answer: (response: Response) => void = () => undefined;
  const fetch = (): Promise<Response> =>
    new Promise((resolve) => {
      answer = resolve;
    });
  await expectAbort(t, [], (options, abort) => {
    setImmediate(abort);
    return fetchWithStream("http://localhost/", { ...options, fetch });
  });
  answer(
    new Response(
      new ReadableStream({
        cancel: () => {
          closed = true;
        },
      }),
    ),
  );
  await turn();
  assert.ok(closed);
});

test("without a reason of its own an abort is an AbortError", async (t) => {
  const { url } = await serve(t, (_, res) => begin(res).write(helloRun("/wait").first(3)));
  const controller = new AbortController();
  const reading = async (): Promise<void> => {
    for await (const { type } of streamFrames(url, { fetchOpts: { signal: controller.signal } })) {
      if (type === "stream") controller.abort();
    }
  };
  await assert.rejects(reading(), { name: "AbortError" });
});

test("a signal keeps no listener of a stream that ended", async (t) => {
  const { url } = await serve(t, (call, res) => {
    if (call.path === "/hello") begin(res).end(helloRun("/wait").first(3));
    else begin(res).end(helloRun("/wait").after("3"));
  });
  const { signal } = new AbortController();
  let listeners = 0;
  let added = 0;
  const { addEventListener, removeEventListener } = EventTarget.prototype;
  const ours = (listener: unknown): boolean => listener instanceof Function && /reject\(signal/.test(String(listener));
  t.mock.method(
    signal,
    "addEventListener",
    function (this: EventTarget, ...args: Parameters<EventTarget["addEventListener"]>) {
      if (ours(args[1])) added += 1;
      if (ours(args[1])) listeners += 1;
      addEventListener.apply(this, args);
    },
  );
  t.mock.method(
    signal,
    "removeEventListener",
    function (this: EventTarget, ...args: Parameters<EventTarget["removeEventListener"]>) {
      if (ours(args[1])) listeners -= 1;
      removeEventListener.apply(this, args);
    },
  );
  await fetchWithStream(`${url}/hello`, { fetchOpts: { signal } });
  assert.ok(added > 0);
  assert.equal(listeners, 0);
});
