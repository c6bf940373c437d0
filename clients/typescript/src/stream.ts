// A run's stream as frames: over lost connections, and over the move from the endpoint to the waiting URL.

import { type Opened, type Reading, Unavailable, openEndpoint, openWaiting, readEvents, resolveUrl } from "./connection.js";
import { ConnectionLostError, type LostRun, ProtocolError } from "./error.js";
import { type Frame, parseFrame } from "./frame.js";
import { type ResolvedOptions, type StreamOptions, resolveOptions } from "./options.js";
import { ProblemError } from "./problem.js";
import { toResponse, toResponseFrame } from "./response.js";
import type { SseEvent } from "./sse.js";
import { sleep } from "./time.js";

/**
 * Calls a durable endpoint and gives the frames of its run, each once and in order.
 *
 * The request is made when the first frame is asked for. A lost connection is resumed on its own.
 * The last frame is always a `response`, also where the endpoint does not stream. Leaving the loop closes the
 * connection; the run goes on.
 *
 * Throws the abort's reason; what `fetch` throws for the first request; {@link ConnectionLostError} where the stream
 * could not be resumed; {@link ProblemError} where the waiting URL refuses; {@link ProtocolError}.
 */
export async function* streamFrames(url: string | URL, options: StreamOptions = {}): AsyncGenerator<Frame, void> {
  let ended = false;
  for await (const part of readRun(url, options)) {
    if (part.type === "final") {
      if (!ended) yield toResponseFrame(part.response);
      return;
    }
    ended = part.type === "response";
    yield part;
  }
}

/** The final response of a run. */
export interface Final {
  readonly type: "final";
  readonly response: Response;
}

/** The frames of a run, and then its final response. Fails as {@link streamFrames} does. */
export async function* readRun(url: string | URL, options: StreamOptions): AsyncGenerator<Frame | Final, void> {
  const resolved = resolveOptions(options);
  const { signal } = resolved;
  const cursor = new Cursor(url, resolved);
  let opened = await cursor.open();
  while (opened.kind === "stream") {
    let lost: unknown;
    try {
      for await (const event of readEvents(opened.body, cursor.reading(opened.url))) {
        const frame = cursor.take(event, opened.url);
        if (!frame) continue;
        signal?.throwIfAborted();
        yield frame;
        if (frame.type !== "response") continue;
        yield { type: "final", response: toResponse(frame.response) };
        return;
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof ProtocolError) throw error;
      lost = error;
    }
    opened = await cursor.reopen(lost);
  }
  signal?.throwIfAborted();
  yield { type: "final", response: opened.response };
}

/** Where in a run's stream the client is, and how often it tried to go on. */
class Cursor {
  readonly #url: string;
  readonly #options: ResolvedOptions;
  #runId: string | null = null;
  #waitingUrl: string | null = null;
  #lastEventId: string | null = null;
  /** Whether the server sends ids or heartbeats, so that silence means a dead connection. */
  #beats = false;
  /** The least delay that the stream itself asked for. */
  #retryMs = 0;
  /** Attempts to resume since a connection was last of use. */
  #attempts = 0;
  #openedAt = 0;

  constructor(url: string | URL, options: ResolvedOptions) {
    this.#url = String(url);
    this.#options = options;
    if (options.attach) {
      this.#waitingUrl = this.#base();
      this.#lastEventId = options.attach.lastEventId;
    }
  }

  /** Makes the first connection. */
  async open(): Promise<Opened> {
    const { attach } = this.#options;
    return this.#opened(await (attach ? this.#resume(undefined, true) : openEndpoint(this.#url, this.#options)));
  }

  /** Makes the next connection after one that `lost` ended; undefined says that it ended in good order. */
  async reopen(lost: unknown): Promise<Opened> {
    const first = this.#attempts === 0 && !this.#moved;
    if (performance.now() - this.#openedAt >= this.#options.delayMaxMs) this.#attempts = 0;
    // A stream that ends in good order without a response says that the run went on elsewhere: no need to wait.
    return this.#opened(await this.#resume(lost, first && lost === undefined));
  }
  #moved = false;

  reading(url: string): Reading {
    void url;
    return {
      signal: this.#options.signal,
      idleMs: (comments) => {
        this.#beats ||= comments > 0;
        return this.#idleMs();
      },
      onRetry: (retryMs) => {
        this.#retryMs = retryMs;
      },
    };
  }

  take(event: SseEvent, url: string): Frame | null {
    void event; void url;
    return null;
  }
}
