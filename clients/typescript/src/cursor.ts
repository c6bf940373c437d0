// Where in a run's stream the client is, and how it gets on when a connection ends.

import { type Opened, type Reading, Unavailable, openEndpoint, openWaiting, resolveUrl } from "./connection.js";
import { ConnectionLostError, ProtocolError } from "./error.js";
import { type Frame, parseFrame } from "./frame.js";
import type { ResolvedOptions } from "./options.js";
import { ProblemError } from "./problem.js";
import type { SseEvent } from "./sse.js";
import { sleep } from "./time.js";

/** A connection that lived for this long was of use, even if no frame came. */
const USEFUL_MS = 10_000;

/** A place in a run's stream. */
export class Cursor implements Reading {
  readonly signal: AbortSignal | null;
  /** The URL as it was given, and resolved. */
  readonly #asked: string;
  readonly #url: string;
  readonly #options: ResolvedOptions;
  #runId: string | null = null;
  #waitingUrl: string | null = null;
  #lastEventId: string | null = null;
  /** Whether the connection is the one to the endpoint itself. */
  #direct: boolean;
  /** Whether the server sends ids or heartbeats, so that silence means a dead connection. */
  #beats = false;
  /** The least delay that the stream itself asked for. */
  #retryMs = 0;
  /** Attempts to resume since a connection was last of use. */
  #attempts = 0;
  #openedAt = 0;

  constructor(url: string, options: ResolvedOptions) {
    this.signal = options.signal;
    this.#asked = url;
    this.#url = resolveUrl(url, globalThis.location?.href);
    this.#options = options;
    this.#direct = options.attach === null;
    if (options.attach) {
      this.#waitingUrl = this.#url;
      this.#lastEventId = options.attach.lastEventId;
    }
  }

  /** Makes the first connection. */
  async open(): Promise<Opened> {
    const opening = this.#direct ? openEndpoint(this.#asked, this.#options) : this.#resume(undefined, true);
    return this.#note(await opening);
  }

  /** Makes the next connection after one ended: by the error `lost`, or in good order. */
  async reopen(lost: unknown): Promise<Opened> {
    // The endpoint's own stream ends in good order when the run goes on elsewhere: no reason to wait.
    const planned = this.#direct && lost === undefined && this.#waitingUrl !== null;
    this.#direct = false;
    if (performance.now() - this.#openedAt >= USEFUL_MS) this.#attempts = 0;
    if (planned) this.#options.onReconnecting({ attempt: 0, delayMs: 0, error: undefined });
    return this.#note(await this.#resume(lost, planned));
  }

  /** Reads an event of a connection to `url`; null for one that gives no new frame. */
  take(event: SseEvent, url: string): Frame | null {
    const frame = parseFrame(event);
    // A resumed stream may begin with the metadata again, and its old id must not lead back.
    if (frame?.type === "metadata" && frame.runId === this.#runId) return null;
    if (event.id !== "") {
      this.#lastEventId = event.id;
      this.#beats = true;
    }
    if (!frame) return null;
    switch (frame.type) {
      case "metadata":
        this.#runId = frame.runId;
        return frame;
      case "redirect_info":
        this.#waitingUrl = resolveUrl(frame.url, url);
        return { ...frame, url: this.#waitingUrl };
      default:
        // Without ids a frame may be a repetition, so it is no sign of progress.
        if (frame.id !== null) this.#attempts = 0;
        return frame;
    }
  }

  // ===== Reading =====

  idleMs(comments: number): number {
    this.#beats ||= comments > 0;
    return this.#beats ? this.#options.idleTimeoutMs : 0;
  }

  onRetry(retryMs: number): void {
    this.#retryMs = retryMs;
  }

  // ===== Resuming =====

  async #resume(lost: unknown, atOnce: boolean): Promise<Opened> {
    const { attemptsMax, onReconnecting } = this.#options;
    let error = lost;
    let askedMs = 0;
    for (let waits = !atOnce; ; waits = true) {
      const url = this.#waitingUrl;
      if (url === null || (waits && this.#attempts >= attemptsMax)) throw this.#lostError(error);
      if (waits) {
        const delayMs = Math.max(this.#delayMs(), askedMs, this.#retryMs);
        this.#attempts += 1;
        onReconnecting({ attempt: this.#attempts, delayMs, error });
        await sleep(delayMs, this.signal);
      }
      const from = { url, origin: this.#url, lastEventId: this.#lastEventId, timeoutMs: this.idleMs(0) };
      try {
        return await openWaiting(from, this.#options);
      } catch (failed) {
        this.signal?.throwIfAborted();
        if (failed instanceof ProblemError || failed instanceof ProtocolError) throw failed;
        error = failed;
        askedMs = failed instanceof Unavailable ? failed.retryAfterMs : 0;
      }
    }
  }

  #note(opened: Opened): Opened {
    this.#openedAt = performance.now();
    return opened;
  }

  /** Doubles with each attempt; a random part of up to a half is taken off, so that clients do not come all at once. */
  #delayMs(): number {
    const { delayMs, delayMaxMs } = this.#options;
    return Math.min(delayMaxMs, delayMs * 2 ** this.#attempts) * (1 - Math.random() / 2);
  }

  #lostError(cause: unknown): ConnectionLostError {
    const tries = this.#attempts === 0 ? "" : ` and ${this.#attempts} attempts to resume it failed`;
    const why = cause instanceof Error ? `: ${cause.message}` : "";
    const run = { runId: this.#runId, waitingUrl: this.#waitingUrl, lastEventId: this.#lastEventId };
    return new ConnectionLostError(`the stream ended before the run's response${tries}${why}`, run, cause);
  }
}
