// A run's stream as frames, over lost connections and over the move from the endpoint to the waiting URL.

import { readEvents } from "./connection.js";
import { Cursor } from "./cursor.js";
import { ProtocolError } from "./error.js";
import type { Frame } from "./frame.js";
import { type StreamOptions, resolveOptions } from "./options.js";
import { toResponse, toResponseFrame } from "./response.js";

/**
 * Calls a durable endpoint and gives the frames of its run, each once and in order.
 *
 * The request is made when the first frame is asked for; a lost connection is resumed on its own.
 * The last frame is always a `response`, also where the endpoint does not stream.
 * Leaving the loop closes the connection; the run goes on.
 *
 * Throws the signal's reason when aborted, what `fetch` throws for the first request, `ConnectionLostError` where the
 * stream could not be resumed, `ProblemError` where the waiting URL refuses, and `ProtocolError`.
 */
export async function* streamFrames(url: string | URL, options: StreamOptions = {}): AsyncGenerator<Frame, void> {
  let ended = false;
  for await (const part of readRun(url, options)) {
    if (part.type !== "final") {
      ended = part.type === "response";
      yield part;
    } else if (!ended) {
      yield await toResponseFrame(part.response);
    }
  }
}

/** The final response of a run: what {@link readRun} gives last. */
export interface Final {
  readonly type: "final";
  readonly response: Response;
}

/** Gives a run's frames, then its final response. Fails as {@link streamFrames} does. */
export async function* readRun(url: string | URL, options: StreamOptions): AsyncGenerator<Frame | Final, void> {
  const resolved = resolveOptions(options);
  const { signal } = resolved;
  const cursor = new Cursor(String(url), resolved);
  let opened = await cursor.open();
  while (opened.kind === "stream") {
    let lost: unknown;
    try {
      for await (const event of readEvents(opened.body, cursor)) {
        const frame = cursor.take(event, opened.url);
        if (!frame) continue;
        signal?.throwIfAborted();
        const response = frame.type === "response" ? toResponse(frame.response) : null;
        yield frame;
        if (!response) continue;
        yield { type: "final", response };
        return;
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof ProtocolError) throw error;
      lost = error;
    }
    opened = await cursor.reopen(lost);
  }
  yield { type: "final", response: opened.response };
}
