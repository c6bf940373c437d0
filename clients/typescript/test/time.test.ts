// Delays and silences, on a clock that the test turns.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { type StreamOptions, fetchWithStream } from "@onward/client";
import { helloRun, wire } from "./server.js";

const script = helloRun("http://localhost/wait");

/** A connection whose bytes the test sends. */
class Line {
  closed = false;
  readonly response: Response;
  readonly #queue: (Uint8Array | Error | null)[] = [];
  #wake = (): void => undefined;

  constructor(headers: Record<string, string> = { "content-type": "text/event-stream" }) {
    const pull = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
      while (this.#queue.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
      const next = this.#queue.shift();
      if (next instanceof Error) controller.error(next);
      else if (next) controller.enqueue(next);
      else controller.close();
    };
    const stream = new ReadableStream<Uint8Array>({ pull, cancel: () => void (this.closed = true) });
    this.response = new Response(stream, { headers });
  }

  send(text: string): void {
    this.#queue.push(new TextEncoder().encode(text));
    this.#wake();
  }

  end(): void {
    this.#queue.push(null);
    this.#wake();
  }

  break(): void {
    this.#queue.push(new TypeError("terminated"));
    this.#wake();
  }
}

/** A run on a mock clock: each call of fetch gets the next answer. */
class Bench {
  readonly #t: TestContext;
  /** The time of each call. */
  readonly calls: number[] = [];
  readonly result: Promise<string>;
  #now = 0;

  constructor(
    t: TestContext,
    answers: (Line | Response | "never" | "refused")[],
    options: StreamOptions = {},
    draw = 0,
  ) {
    this.#t = t;
    t.mock.timers.enable({ apis: ["setTimeout"] });
    t.mock.method(Math, "random", () => draw);
    t.mock.method(performance, "now", () => this.#now);
    const fetch = (): Promise<Response> => {
      const answer = answers[this.calls.length];
      this.calls.push(this.#now);
      if (answer === "never") return new Promise(() => undefined);
      if (answer === "refused" || answer === undefined) return Promise.reject(new TypeError("refused"));
      return Promise.resolve(answer instanceof Line ? answer.response : answer);
    };
    const done = fetchWithStream("http://localhost/", { ...options, fetch });
    this.result = done.then((response) => response.text(), String);
  }

  /** Lets time pass, a millisecond at a time where something happens. */
  async pass(ms: number): Promise<void> {
    for (let at = 0; at < 20; at += 1) await turn();
    for (let left = ms; left > 0; left -= 1) {
      this.#now += 1;
      this.#t.mock.timers.tick(1);
      await turn();
    }
    for (let at = 0; at < 20; at += 1) await turn();
  }
}

const unavailable = (headers: Record<string, string> = {}): Response => new Response("", { status: 503, headers });

test("delays double up to the longest, and the count begins anew after use", async (t) => {
  const [first, second, last] = [new Line(), new Line(), new Line()];
  const options = { resume: { delayMs: 10, delayMaxMs: 40 } };
  const bench = new Bench(t, [first, "refused", "refused", unavailable(), "refused", second, "refused", last], options);
  first.send(script.first(3));
  first.break();
  await bench.pass(10 + 20 + 40 + 40 + 40);
  assert.deepEqual(bench.calls, [0, 10, 30, 70, 110, 150]);
  second.send(script.frames[3] ?? "");
  second.break();
  await bench.pass(30);
  assert.deepEqual(bench.calls.slice(6), [160, 180]);
  last.send(script.after("4"));
  assert.equal(await bench.result, "Hello");
});

test("a random part of up to a half is taken off a delay", async (t) => {
  const first = new Line();
  const bench = new Bench(t, [first], { resume: { delayMs: 100, attempts: 1 } }, 0.5);
  first.send(script.first(3));
  first.break();
  await bench.pass(75);
  assert.deepEqual(bench.calls, [0, 75]);
  assert.match(await bench.result, /ConnectionLostError.*refused/);
});

test("Retry-After and the stream's own retry time are waited for", async (t) => {
  const [first, last] = [new Line(), new Line()];
  const bench = new Bench(t, [first, unavailable({ "retry-after": "2" }), last], { resume: { delayMs: 10 } });
  first.send(`retry: 300\n${script.first(3)}`);
  first.break();
  await bench.pass(2300);
  assert.deepEqual(bench.calls, [0, 300, 2300]);
  last.send(script.after("3"));
  assert.equal(await bench.result, "Hello");
});

test("a connection with ids that falls silent is cut and resumed; heartbeats keep it", async (t) => {
  const [first, last] = [new Line(), new Line()];
  const bench = new Bench(t, [first, last], { idleTimeoutMs: 100, resume: { delayMs: 10 } });
  first.send(script.first(3));
  await bench.pass(90);
  first.send(":\n\n");
  await bench.pass(99);
  assert.deepEqual([bench.calls, first.closed], [[0], false]);
  await bench.pass(11);
  assert.deepEqual([bench.calls, first.closed], [[0, 200], true]);
  last.send(script.after("3"));
  assert.equal(await bench.result, "Hello");
});

test("a connection without ids whose heartbeats stop is cut and resumed", async (t) => {
  const [first, last] = [new Line(), new Line()];
  const bench = new Bench(t, [first, last], { idleTimeoutMs: 100, resume: { delayMs: 10 } });
  first.send(
    wire(null, "metadata", { runId: "r" }) + wire(null, "redirect_info", { runId: "r", url: "/wait" }) + ":\n\n",
  );
  await bench.pass(110);
  assert.deepEqual([bench.calls, first.closed], [[0, 110], true]);
  last.send(wire(null, "response", { status: "succeeded", response: { body: "ok", statusCode: 200, headers: {} } }));
  assert.equal(await bench.result, "ok");
});

test("a waiting URL that does not answer is asked again", async (t) => {
  const [first, last] = [new Line(), new Line()];
  const bench = new Bench(t, [first, "never", last], { idleTimeoutMs: 100, resume: { delayMs: 10 } });
  first.send(script.first(3));
  first.break();
  await bench.pass(10 + 100 + 20);
  assert.deepEqual(bench.calls, [0, 10, 130]);
  last.send(script.after("3"));
  assert.equal(await bench.result, "Hello");
});

test("a final response whose body falls silent is asked for again", async (t) => {
  const [first, half, whole] = [
    new Line(),
    new Line({ "onward-run-id": "run1" }),
    new Line({ "onward-run-id": "run1" }),
  ];
  const bench = new Bench(t, [first, half, whole], { idleTimeoutMs: 100, resume: { delayMs: 10 } });
  first.send(script.first(3));
  first.break();
  half.send("ha");
  await bench.pass(10 + 100 + 20);
  assert.deepEqual(bench.calls, [0, 10, 130]);
  whole.send("half");
  whole.end();
  assert.equal(await bench.result, "half");
});

test("a server without ids and heartbeats may be silent for as long as it likes", async (t) => {
  const first = new Line();
  const bench = new Bench(t, [first], { idleTimeoutMs: 10 });
  first.send(wire(null, "metadata", { runId: "r" }));
  await bench.pass(1000);
  assert.equal(first.closed, false);
  first.send(script.frames[6] ?? "");
  assert.equal(await bench.result, "Hello");
});

test("connections that bring nothing but live long do not use up the attempts", async (t) => {
  const lines = Array.from({ length: 5 }, () => new Line());
  const bench = new Bench(t, lines, { idleTimeoutMs: 0, resume: { attempts: 1, delayMs: 10 } });
  lines[0]?.send(script.first(3));
  for (const line of lines.slice(0, 4)) {
    await bench.pass(10_010);
    line.send(":\n\n");
    line.break();
  }
  await bench.pass(20);
  lines[4]?.send(script.after("3"));
  assert.equal(await bench.result, "Hello");
});

test("connections that bring nothing and end at once use them up", async (t) => {
  const lines = Array.from({ length: 4 }, () => new Line());
  const bench = new Bench(t, lines, { resume: { attempts: 3, delayMs: 10 } });
  lines[0]?.send(script.first(3));
  for (const line of lines) line.break();
  await bench.pass(100);
  assert.equal(bench.calls.length, 4);
  assert.match(await bench.result, /ConnectionLostError.*3 attempts/);
});
