// Reads one run at a time for a component, which may come and go, and remembers it over reloads.

import { resolveUrl, sameOrigin } from "./connection.js";
import { ProtocolError } from "./error.js";
import type { Frame } from "./frame.js";
import type { StreamOptions } from "./options.js";
import { ProblemError } from "./problem.js";
import type { RunAction } from "./run-state.js";
import { readRun } from "./stream.js";

/** A place for a few words, such as `sessionStorage`. */
export type RunStorage = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/** What is called, and how. */
export interface Target {
  /** The endpoint's URL. */
  readonly url: string;
  readonly options: Omit<StreamOptions, "attach" | "onReconnecting">;
  readonly storage: RunStorage | null;
  readonly storageKey: string;
}

/** How far the run is that is being read: enough to go on with it. */
interface Place {
  readonly waitingUrl: string;
  readonly lastEventId: string | null;
}

/** Reads a component's run, and tells it what happens. */
export class RunReader {
  readonly #tell: (action: RunAction) => void;
  /** The reading that goes on; another one than a reader's own says that it was let go. */
  #reading: AbortController | null = null;
  #place: Place | null = null;

  constructor(tell: (action: RunAction) => void) {
    this.#tell = tell;
  }

  /** Starts a new run; the one before is let go and forgotten. */
  start(target: Target, init: RequestInit): void {
    this.#letGo();
    this.#place = null;
    remember(target, null);
    this.#tell({ type: "started" });
    void this.#read(target, target.url, { fetchOpts: { ...target.options.fetchOpts, ...init } });
  }

  /** Stops reading, and forgets the run. */
  stop(target: Target): void {
    this.#letGo();
    this.#place = null;
    remember(target, null);
    this.#tell({ type: "stopped" });
  }

  /** The component is there (again): goes on with the run it read, or that the storage remembers. */
  mount(target: Target): void {
    const remembered = recall(target);
    this.#place ??= remembered === null ? null : { waitingUrl: remembered, lastEventId: null };
    if (!this.#place) return;
    const { waitingUrl, lastEventId } = this.#place;
    // Without an id all is read anew, so what was read before is dropped.
    this.#tell({ type: lastEventId === null ? "started" : "waiting" });
    const attach = lastEventId === null ? true : { lastEventId };
    const own = sameOrigin(waitingUrl, resolveUrl(target.url, globalThis.location?.href));
    const fetchOpts = own ? target.options.fetchOpts : { signal: target.options.fetchOpts?.signal ?? null };
    void this.#read(target, waitingUrl, { attach, fetchOpts });
  }

  /** The component goes. Its run is remembered, unless it cannot be gone on with. */
  unmount(): void {
    if (this.#reading && !this.#place) this.#tell({ type: "stopped" });
    this.#letGo();
  }

  #letGo(): void {
    const reading = this.#reading;
    this.#reading = null;
    reading?.abort();
  }

  async #read(target: Target, url: string, options: StreamOptions): Promise<void> {
    const reading = new AbortController();
    this.#reading = reading;
    const outer = options.fetchOpts?.signal;
    const abort = (): void => reading.abort(outer?.reason);
    if (outer?.aborted) abort();
    outer?.addEventListener("abort", abort);
    const fetchOpts = { ...options.fetchOpts, signal: reading.signal };
    const onReconnecting = (): void => {
      if (this.#reading === reading) this.#tell({ type: "waiting" });
    };
    let last: RunAction;
    try {
      last = await this.#frames(target, reading, url, { ...target.options, ...options, fetchOpts, onReconnecting });
    } catch (error) {
      last = outer?.aborted ? { type: "stopped" } : { type: "failed", error };
    }
    outer?.removeEventListener("abort", abort);
    if (this.#reading !== reading) return;
    this.#reading = null;
    this.#place = null;
    if (isFinal(last)) remember(target, null);
    this.#tell(last);
  }

  async #frames(target: Target, reading: AbortController, url: string, options: StreamOptions): Promise<RunAction> {
    for await (const part of readRun(url, options)) {
      if (part.type === "final") {
        const { response } = part;
        return { type: "finished", response, body: await response.clone().text() };
      }
      if (this.#reading !== reading) break;
      this.#follow(target, part);
      this.#tell({ type: "frame", frame: part });
    }
    return { type: "stopped" };
  }

  #follow(target: Target, frame: Frame): void {
    if (frame.type === "redirect_info") {
      this.#place = { waitingUrl: frame.url, lastEventId: frame.id };
      remember(target, frame.url);
    } else if (this.#place) {
      this.#place = { ...this.#place, lastEventId: frame.id };
    }
  }
}

/** Whether reading again would give nothing more. After a lost connection, a reload may go on. */
function isFinal(action: RunAction): boolean {
  if (action.type !== "failed") return true;
  return action.error instanceof ProblemError || action.error instanceof ProtocolError;
}

// ===== Storage: a browser may refuse it, which only costs the memory =====

function recall({ storage, storageKey }: Target): string | null {
  try {
    return storage?.getItem(storageKey) ?? null;
  } catch {
    return null;
  }
}

function remember({ storage, storageKey }: Target, waitingUrl: string | null): void {
  try {
    if (waitingUrl === null) storage?.removeItem(storageKey);
    else storage?.setItem(storageKey, waitingUrl);
  } catch {
    return;
  }
}
