// In-process servers that speak a run's stream as a test scripts it.

import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { setImmediate as turn } from "node:timers/promises";

/** A request that a test's server got. */
export interface Call {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
  /** Resolves when the connection is closed, by whichever side. */
  readonly closed: Promise<void>;
}

export type Handle = (call: Call, res: ServerResponse) => void;

/** Serves until the test ends; gives the base URL and the calls so far. */
export async function serve(t: TestContext, handle: Handle): Promise<{ url: string; calls: Call[] }> {
  const calls: Call[] = [];
  const server = createServer((req, res) => {
    const closed = new Promise<void>((resolve) => res.on("close", resolve));
    const parts: Buffer[] = [];
    req.on("data", (part: Buffer) => parts.push(part));
    req.on("end", () => {
      const body = Buffer.concat(parts).toString();
      const call = { method: req.method ?? "", path: req.url ?? "", headers: req.headers, body, closed };
      calls.push(call);
      handle(call, res);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, calls };
}

/** A frame as bytes on the wire; without an id as the engine of the `inngest` package sends them. */
export function wire(id: string | null, name: string, data: unknown): string {
  return `${id === null ? "" : `id: ${id}\n`}event: inngest.${name}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** The terminal frame's data of a run that gave 200 and this text. */
export function succeeded(body: string): object {
  return { status: "succeeded", response: { body, statusCode: 200, headers: { "content-type": "text/plain" } } };
}

/** Begins an event stream. */
export function begin(res: ServerResponse): ServerResponse {
  res.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  res.flushHeaders();
  return res;
}

/**
 * Sends bytes, and then cuts the connection as a crash would.
 *
 * A cut also loses what the client has not read yet; so that a test knows what it has, the client, which shares this
 * event loop, gets some turns to read.
 */
export function cutAfter(res: ServerResponse, bytes: string | Uint8Array): void {
  res.write(bytes, async () => {
    for (let at = 0; at < 50; at += 1) await turn();
    res.destroy();
  });
}

/** A run's frames, numbered from 1, and where a reader is in them. */
export class Script {
  readonly frames: string[];

  constructor(frames: [name: string, data: unknown][]) {
    this.frames = frames.map(([name, data], at) => wire(String(at + 1), name, data));
  }

  /** What follows the frame with the id. */
  after(lastEventId: string | string[] | undefined): string {
    return this.frames.slice(Number(lastEventId ?? 0)).join("");
  }

  /** The first frames. */
  first(count: number): string {
    return this.frames.slice(0, count).join("");
  }
}

/** Resuming without delays that a test would notice. */
export const FAST = { resume: { delayMs: 1, delayMaxMs: 2 } } as const;

/** A run that streams in one step, over a waiting URL. */
export function helloRun(waitingUrl: string): Script {
  return new Script([
    ["metadata", { runId: "run1" }],
    ["redirect_info", { runId: "run1", url: waitingUrl }],
    ["stream", { data: "Hel", hashedStepId: "a" }],
    ["stream", { data: "lo ✓", hashedStepId: "a" }],
    ["commit", { hashedStepId: "a" }],
    ["stream", { data: { done: true } }],
    ["response", succeeded("Hello")],
  ]);
}

/** Records every callback as a line. */
export function recorder(): { lines: string[]; callbacks: RecordedCallbacks } {
  const lines: string[] = [];
  const add =
    (name: string) =>
    (args?: unknown): void => {
      lines.push(args === undefined ? name : `${name} ${JSON.stringify(args)}`);
    };
  return {
    lines,
    callbacks: {
      onMetadata: add("metadata"),
      onData: add("data"),
      onCommit: add("commit"),
      onRollback: add("rollback"),
      onStreamError: add("error"),
      onDone: () => add("done")(),
    },
  };
}

interface RecordedCallbacks {
  onMetadata: (args: { runId: string }) => void;
  onData: (args: { data: unknown; hashedStepId: string | null }) => void;
  onCommit: (args: { hashedStepId: string | null }) => void;
  onRollback: (args: { hashedStepId: string | null }) => void;
  onStreamError: (error: string) => void;
  onDone: () => void;
}

/** Numbers in [0, 1), the same for the same seed. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
  };
}
