// `fetchWithStream`: callbacks on top of a run's frames.

import { type Frame, failureMessage } from "./frame.js";
import type { Reconnecting, StreamOptions } from "./options.js";
import { readRun } from "./stream.js";

/** Options of {@link fetchWithStream}. */
export interface FetchWithStreamOptions extends StreamOptions {
  /** Called when the run's metadata comes: once, before every other callback. */
  readonly onMetadata?: ((args: { runId: string }) => void) | undefined;
  /** Called for each chunk. It is provisional until its step is committed; outside of steps the id is null. */
  readonly onData?: ((args: { data: unknown; hashedStepId: string | null }) => void) | undefined;
  /** Called when a step succeeded: its chunks are permanent. */
  readonly onCommit?: ((args: { hashedStepId: string | null }) => void) | undefined;
  /** Called when an attempt of a step failed: its uncommitted chunks are to be discarded. */
  readonly onRollback?: ((args: { hashedStepId: string | null }) => void) | undefined;
  /** Called when the run failed for good, or the stream could not be read to its end; not for an abort. */
  readonly onStreamError?: ((error: string) => void) | undefined;
  /** Called last and once, whichever way it ended. */
  readonly onDone?: (() => void) | undefined;
}

/**
 * Calls a durable endpoint, and gives its final response.
 *
 * What the endpoint streams meanwhile goes to the callbacks. Lost connections are resumed, and the move to the waiting
 * URL is followed. An answer that is no stream is returned as it is. A run that failed gives a response too, with
 * status 500.
 *
 * Rejects with the signal's reason when aborted, what `fetch` throws for the first request, `ConnectionLostError` where
 * the stream could not be resumed, `ProblemError` where the waiting URL refuses, `ProtocolError`, or what a callback
 * threw, which ends the stream.
 */
export async function fetchWithStream(url: string | URL, options: FetchWithStreamOptions = {}): Promise<Response> {
  const callbacks = new Callbacks(options);
  let result: { response: Response } | { error: unknown };
  try {
    result = { response: await deliver(url, options, callbacks) };
  } catch (error) {
    result = { error };
    if (!callbacks.threw && !options.fetchOpts?.signal?.aborted) {
      const message = error instanceof Error ? error.message : String(error);
      // Why swallowed: the stream's own error is the one to tell.
      callbacks.attempt(() => options.onStreamError?.(message));
    }
  }
  const done = callbacks.attempt(() => options.onDone?.());
  if ("error" in result) throw result.error;
  if (done) throw done.error;
  return result.response;
}

async function deliver(url: string | URL, options: StreamOptions, callbacks: Callbacks): Promise<Response> {
  const onReconnecting = (args: Reconnecting): void => callbacks.reconnecting(args);
  let response: Response | undefined;
  for await (const part of readRun(url, { ...options, onReconnecting })) {
    if (part.type === "final") response = part.response;
    else callbacks.deliver(part);
  }
  if (!response) throw new Error("a run's stream always ends with a response");
  return response;
}

/** The caller's callbacks; remembers whether one threw. */
class Callbacks {
  readonly #options: FetchWithStreamOptions;
  threw = false;

  constructor(options: FetchWithStreamOptions) {
    this.#options = options;
  }

  /** Calls what the frame is for. Throws what it throws. */
  deliver(frame: Frame): void {
    this.#call(() => {
      const options = this.#options;
      switch (frame.type) {
        case "metadata":
          return options.onMetadata?.({ runId: frame.runId });
        case "stream":
          return options.onData?.({ data: frame.data, hashedStepId: frame.hashedStepId });
        case "commit":
          return options.onCommit?.({ hashedStepId: frame.hashedStepId });
        case "rollback":
          return options.onRollback?.({ hashedStepId: frame.hashedStepId });
        case "response":
          return frame.status === "failed" ? options.onStreamError?.(failureMessage(frame.response)) : undefined;
        case "redirect_info":
          return undefined;
      }
    });
  }

  reconnecting(args: Reconnecting): void {
    this.#call(() => this.#options.onReconnecting?.(args));
  }

  /** Calls and gives back what was thrown. */
  attempt(call: () => void): { error: unknown } | null {
    try {
      call();
      return null;
    } catch (error) {
      return { error };
    }
  }

  #call(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.threw = true;
      throw error;
    }
  }
}
