// The state of a run that is being read, as the React hook shows it.

import { type Frame, failureMessage } from "./frame.js";
import { type Chunk, type StreamState, applyFrame, emptyState } from "./state.js";

/**
 * How far a run is: `idle` before it starts and after a stop, `streaming` while frames come, `waiting` while none do
 * (before the first, and while a connection is made anew), then `done` or `error`.
 */
export type RunStatus = "idle" | "streaming" | "waiting" | "done" | "error";

/** What is known of a run. */
export interface RunState {
  readonly status: RunStatus;
  readonly runId: string | null;
  /** The chunks that still count, in the order they came. */
  readonly chunks: readonly Chunk[];
  /** The final response. Its body can be read once, so `clone()` it; or use `body`. */
  readonly response: Response | null;
  /** The final response's body as text. */
  readonly body: string | null;
  /** Why the status is `error`: the run failed for good, or its stream could not be read. */
  readonly error: Error | null;
}

/** What can happen to a run's state. */
export type RunAction =
  | { readonly type: "started" }
  | { readonly type: "waiting" }
  | { readonly type: "frame"; readonly frame: Frame }
  | { readonly type: "finished"; readonly response: Response; readonly body: string }
  | { readonly type: "failed"; readonly error: unknown }
  | { readonly type: "stopped" };

/** The state before any run. */
export const idle: RunState = {
  status: "idle",
  runId: null,
  chunks: [],
  response: null,
  body: null,
  error: null,
};

/** Gives the state after an action. The state given is not changed. */
export function reduceRun(state: RunState, action: RunAction): RunState {
  switch (action.type) {
    case "started":
      return { ...idle, status: "waiting" };
    case "waiting":
      return { ...state, status: "waiting" };
    case "frame": {
      const { frame } = action;
      const before: StreamState = { ...emptyState, runId: state.runId, chunks: state.chunks };
      const { runId, chunks } = applyFrame(before, frame);
      const failed = frame.type === "response" && frame.status === "failed";
      const error = failed ? new Error(failureMessage(frame.response)) : state.error;
      return { ...state, status: "streaming", runId, chunks, error };
    }
    case "finished": {
      const { response, body } = action;
      return { ...state, status: state.error ? "error" : "done", response, body };
    }
    case "failed": {
      const { error } = action;
      return { ...state, status: "error", error: error instanceof Error ? error : new Error(String(error)) };
    }
    case "stopped":
      return { ...state, status: "idle" };
  }
}
