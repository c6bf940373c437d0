// One connection: asking for a stream, telling what the answer is, and reading the body.

import { ProtocolError } from "./error.js";
import type { ResolvedOptions } from "./options.js";
import { ProblemError } from "./problem.js";
import { build } from "./response.js";
import { type SseEvent, SseParser } from "./sse.js";
import { type Limits, within } from "./time.js";

/** A connection's answer: a stream to read, or the run's final response. */
export type Opened =
  | { readonly kind: "stream"; readonly url: string; readonly body: ReadableStream<Uint8Array> }
  | { readonly kind: "final"; readonly response: Response };

/** The server cannot answer now; a later attempt may succeed. */
export class Unavailable extends Error {
  override readonly name = "Unavailable";
  /** How long the server asks to wait; 0 where it does not say. */
  readonly retryAfterMs: number;

  constructor(problem: ProblemError, retryAfterMs: number) {
    super(problem.message, { cause: problem });
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * Calls the endpoint. An answer that is no stream is the final response, as it is.
 *
 * Throws what `fetch` throws; {@link ProtocolError} for a stream without a body.
 */
export async function openEndpoint(url: string, options: ResolvedOptions): Promise<Opened> {
  const headers = new Headers(options.fetchOpts.headers);
  headers.set("accept", "text/event-stream");
  const limits = { signal: options.signal, timeoutMs: 0, timeoutMessage: "" };
  const response = await within(call(options, url, { ...options.fetchOpts, headers }), limits, discard);
  if (!isStream(response)) return { kind: "final", response };
  return stream(response, resolveUrl(url, globalThis.location?.href));
}

/** What an attempt to resume goes by. */
export interface Resumption {
  /** The run's waiting URL. */
  readonly url: string;
  /** The URL of the endpoint that named it: only its own origin gets the caller's headers and credentials. */
  readonly origin: string;
  readonly lastEventId: string | null;
  /** How long the answer may be silent; 0 for ever. */
  readonly timeoutMs: number;
}

/**
 * Asks a run's waiting URL for the rest of the stream.
 *
 * Throws {@link Unavailable} or what `fetch` throws where a later attempt may succeed, and {@link ProblemError} or
 * {@link ProtocolError} where none would.
 */
export async function openWaiting(from: Resumption, options: ResolvedOptions): Promise<Opened> {
  const cut = new AbortController();
  const limits: Limits = {
    signal: options.signal,
    timeoutMs: from.timeoutMs,
    timeoutMessage: `nothing came for ${from.timeoutMs} ms`,
  };
  try {
    const init = { ...resumingInit(from, options.fetchOpts), signal: cut.signal };
    const response = await within(call(options, from.url, init), limits, discard);
    return await judge(response, from.url, limits);
  } catch (error) {
    cut.abort();
    throw error;
  }
}

async function judge(response: Response, url: string, limits: Limits): Promise<Opened> {
  if (response.ok && isStream(response)) return stream(response, url);
  if (response.headers.has("onward-run-id")) {
    // Why read it here: if the connection breaks within the body, the next attempt gets it whole.
    const body = await readAll(response, limits);
    const final = build(body, response.status, response.statusText, new Headers(response.headers));
    return { kind: "final", response: final };
  }
  const { status } = response;
  if (status === 202 || status === 429 || status >= 500) {
    const retryAfterMs = parseRetryAfter(response.headers.get("retry-after"));
    throw new Unavailable(await within(ProblemError.fromResponse(response), limits), retryAfterMs);
  }
  if (status >= 400) throw await within(ProblemError.fromResponse(response), limits);
  discard(response);
  throw new ProtocolError(`the waiting URL answered with ${status}, neither a stream nor the run's response`);
}

/** Reads a body to its end; the limits hold for each part of it. */
async function readAll(response: Response, limits: Limits): Promise<Blob> {
  const parts: BlobPart[] = [];
  const reader = response.body?.getReader();
  try {
    for (;;) {
      const part = await (reader ? within(reader.read(), limits) : null);
      if (!part || part.done) return new Blob(parts);
      parts.push(part.value);
    }
  } finally {
    reader?.cancel().catch(() => undefined);
  }
}

/** What {@link readEvents} needs besides the body. */
export interface Reading {
  readonly signal: AbortSignal | null;
  /** Asked before each read, with how many comments came: how long the connection may be silent; 0 for ever. */
  readonly idleMs: (comments: number) => number;
  /** Told when the stream asks for a reconnection time. */
  readonly onRetry: (retryMs: number) => void;
}

/**
 * Reads a body's events, and closes the connection whichever way the reading ends.
 *
 * Throws what broke the connection, `TimeoutError` for a silent one, or the signal's reason.
 */
export async function* readEvents(body: ReadableStream<Uint8Array>, reading: Reading): AsyncGenerator<SseEvent, void> {
  const reader = body.getReader();
  const parser = new SseParser();
  try {
    for (;;) {
      const timeoutMs = reading.idleMs(parser.comments);
      const timeoutMessage = `nothing came for ${timeoutMs} ms`;
      const chunk = await within(reader.read(), { signal: reading.signal, timeoutMs, timeoutMessage });
      if (chunk.done) return;
      const events = parser.push(chunk.value);
      if (parser.retryMs !== null) reading.onRetry(parser.retryMs);
      yield* events;
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

/** Resolves a URL that may be relative. One that cannot be is left for `fetch` to judge. */
export function resolveUrl(url: string, base: string | undefined): string {
  try {
    return new URL(url, base).href;
  } catch {
    return url;
  }
}

// ===== Parts =====

/** Headers of the first request that are about its body, or about asking once. */
const ONCE = /^(accept|content-.*|idempotency-key|if-.*|last-event-id|prefer|range)$/;

function resumingInit(from: Resumption, fetchOpts: RequestInit): RequestInit {
  const headers = new Headers({ accept: "text/event-stream" });
  if (from.lastEventId !== null) headers.set("last-event-id", from.lastEventId);
  if (!sameOrigin(from.url, from.origin)) return { headers, cache: "no-store" };
  for (const [name, value] of new Headers(fetchOpts.headers)) {
    if (!ONCE.test(name)) headers.set(name, value);
  }
  const { credentials } = fetchOpts;
  return { headers, cache: "no-store", ...(credentials === undefined ? {} : { credentials }) };
}

/** Whether two absolute URLs have one origin; ones that cannot be read only if they are the same. */
export function sameOrigin(url: string, other: string): boolean {
  try {
    return new URL(url).origin === new URL(other).origin;
  } catch {
    return url === other;
  }
}

/** Also a `fetch` that throws at once gives a promise. */
async function call(options: ResolvedOptions, url: string, init: RequestInit): Promise<Response> {
  options.signal?.throwIfAborted();
  const { fetch } = options;
  return fetch(url, init);
}

function isStream(response: Response): boolean {
  return /^\s*text\/event-stream\s*(;|$)/i.test(response.headers.get("content-type") ?? "");
}

function stream(response: Response, asked: string): Opened {
  if (!response.body) throw new ProtocolError("the stream has no body");
  return { kind: "stream", url: response.url === "" ? asked : response.url, body: response.body };
}

function discard(response: Response): void {
  response.body?.cancel().catch(() => undefined);
}

function parseRetryAfter(value: string | null): number {
  if (value === null) return 0;
  if (/^\s*[0-9]+\s*$/.test(value)) return Number(value) * 1000;
  const at = Date.parse(value);
  return Number.isNaN(at) ? 0 : Math.max(0, at - Date.now());
}
