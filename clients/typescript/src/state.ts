// What still counts of a stream: a pure reducer over its frames.

import type { Frame, ResponseContent } from "./frame.js";

/** A chunk that still counts. */
export interface Chunk {
  readonly data: unknown;
  /** The step that streamed it; null outside of steps. */
  readonly hashedStepId: string | null;
  /** Whether it is permanent. */
  readonly committed: boolean;
}

/** What a stream's frames add up to. */
export interface StreamState {
  readonly runId: string | null;
  /** The chunks that still count, in the order they came. */
  readonly chunks: readonly Chunk[];
  /** How the run ended, if it has. */
  readonly outcome: { readonly status: "succeeded" | "failed"; readonly response: ResponseContent } | null;
}

/** The state before the first frame. */
export const emptyState: StreamState = { runId: null, chunks: [], outcome: null };

/**
 * Gives the state after a frame.
 *
 * A commit makes its step's chunks permanent, a rollback drops those that are not. A run's success makes all permanent.
 * The state given is not changed; where a frame changes nothing it is returned itself.
 */
export function applyFrame(state: StreamState, frame: Frame): StreamState {
  switch (frame.type) {
    case "metadata":
      return frame.runId === state.runId ? state : { ...state, runId: frame.runId };
    case "stream": {
      const chunk = { data: frame.data, hashedStepId: frame.hashedStepId, committed: false };
      return { ...state, chunks: [...state.chunks, chunk] };
    }
    case "commit":
      return { ...state, chunks: state.chunks.map((chunk) => (isOpen(chunk, frame) ? commit(chunk) : chunk)) };
    case "rollback":
      return { ...state, chunks: state.chunks.filter((chunk) => !isOpen(chunk, frame)) };
    case "response": {
      const { status, response } = frame;
      const chunks = status === "succeeded" ? state.chunks.map(commit) : state.chunks;
      return { ...state, chunks, outcome: { status, response } };
    }
    case "redirect_info":
      return state;
  }
}

function isOpen(chunk: Chunk, of: { readonly hashedStepId: string | null }): boolean {
  return !chunk.committed && chunk.hashedStepId === of.hashedStepId;
}

function commit(chunk: Chunk): Chunk {
  return chunk.committed ? chunk : { ...chunk, committed: true };
}
