// The React hook: a durable endpoint's run as state that survives reloads.

import { useCallback, useEffect, useReducer, useRef, useState } from "react";
import type { StreamOptions } from "./options.js";
import { RunReader, type RunStorage, type Target } from "./run-reader.js";
import { type RunState, type RunStatus, idle, reduceRun } from "./run-state.js";
import type { Chunk } from "./state.js";

export type { Chunk, RunState, RunStatus, RunStorage };

/** Options of {@link useDurableEndpoint}. The newest ones count at the next `start`. */
export interface UseDurableEndpointOptions extends Omit<StreamOptions, "attach" | "onReconnecting"> {
  /** Where the waiting URL of the running run is kept, so that a reloaded page goes on with it: `sessionStorage`. */
  readonly storage?: RunStorage | undefined;
  /** The key in `storage`: `onward:` and the URL by default. */
  readonly storageKey?: string | undefined;
}

/** What {@link useDurableEndpoint} gives: the run's state, and what can be done. */
export interface DurableEndpoint extends RunState {
  /** Calls the endpoint, with these request options over the hook's. A run that is being read is let go. */
  readonly start: (init?: RequestInit) => void;
  /** Stops reading and forgets the run. Its chunks stay; on the server it goes on. */
  readonly stop: () => void;
}

/**
 * Calls a durable endpoint, and keeps what still counts of its stream as state.
 *
 * Nothing is called before `start`, but for a run that `storage` remembers: that is read again when the component
 * mounts. When it unmounts the connection is closed; if React shows it again, the run goes on where it was.
 */
export function useDurableEndpoint(url: string, options: UseDurableEndpointOptions = {}): DurableEndpoint {
  const [state, tell] = useReducer(reduceRun, idle);
  const [reader] = useState(() => new RunReader(tell));
  const target = useRef(targetOf(url, options));

  useEffect(() => {
    target.current = targetOf(url, options);
  });
  useEffect(() => {
    reader.mount(target.current);
    return () => reader.unmount();
  }, [reader]);

  const start = useCallback((init: RequestInit = {}) => reader.start(target.current, init), [reader]);
  const stop = useCallback(() => reader.stop(target.current), [reader]);
  return { ...state, start, stop };
}

function targetOf(url: string, options: UseDurableEndpointOptions): Target {
  const { storage = null, storageKey = `onward:${url}`, ...rest } = options;
  return { url, options: rest, storage, storageKey };
}
