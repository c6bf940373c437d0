// The options that every way of reading a stream takes, and their resolved form.

/** What is needed of `fetch`: the platform's own, or one that wraps it. */
export type Fetch = (url: string, init?: RequestInit) => Promise<Response>;

/** How a lost connection is resumed. */
export interface ResumeOptions {
  /** Attempts in a row that may fail before the stream counts as lost. 10 by default. */
  readonly attempts?: number | undefined;
  /** The delay before the first attempt, which doubles with each; a random part of up to a half is taken off. */
  readonly delayMs?: number | undefined;
  /** The longest delay between attempts, but for a server that asks for more. 10,000 by default. */
  readonly delayMaxMs?: number | undefined;
}

/** An attempt to resume that is about to be made. */
export interface Reconnecting {
  /** Which attempt in a row, from 1; 0 for a planned move to the waiting URL. */
  readonly attempt: number;
  /** How long the client waits before it. */
  readonly delayMs: number;
  /** What ended the connection; undefined where it ended in good order. */
  readonly error: unknown;
}

/** Options of {@link streamFrames} and `fetchWithStream`. */
export interface StreamOptions {
  /** The `fetch` to use; `globalThis.fetch` by default. */
  readonly fetch?: Fetch | undefined;
  /**
   * Options of the request, such as `method`, `body`, `headers` and the `signal` that aborts it.
   *
   * A request that resumes takes headers and credentials from here only if it goes to the endpoint's own origin.
   */
  readonly fetchOpts?: RequestInit | undefined;
  /** How a lost connection is resumed; false for not at all. */
  readonly resume?: ResumeOptions | false | undefined;
  /**
   * After how long a silent connection counts as lost. 45,000 by default; 0 for never.
   *
   * It only holds for servers that send ids or heartbeats: others may be silent for as long as a step takes.
   */
  readonly idleTimeoutMs?: number | undefined;
  /**
   * Reads a run that goes on already: the URL is its waiting URL (`redirect_info`), not an endpoint.
   *
   * `true` reads all that still counts, an object what comes after that frame.
   * Already the first connection is made with retries, by GET.
   */
  readonly attach?: boolean | { readonly lastEventId: string } | undefined;
  /** Called before each attempt to resume, and when the stream moves on to the waiting URL. */
  readonly onReconnecting?: ((args: Reconnecting) => void) | undefined;
}

/** Options with every default filled in. */
export interface ResolvedOptions {
  readonly fetch: Fetch;
  readonly fetchOpts: RequestInit;
  readonly signal: AbortSignal | null;
  readonly attemptsMax: number;
  readonly delayMs: number;
  readonly delayMaxMs: number;
  readonly idleTimeoutMs: number;
  readonly attach: { readonly lastEventId: string | null } | null;
  readonly onReconnecting: (args: Reconnecting) => void;
}

/** Fills in defaults. Throws `RangeError` for a number that is negative or none. */
export function resolveOptions(options: StreamOptions): ResolvedOptions {
  const resume = options.resume === false ? { attempts: 0 } : (options.resume ?? {});
  const fetchOpts = options.fetchOpts ?? {};
  const attach = options.attach ?? false;
  return {
    // Why a local function: browsers refuse a `fetch` that is called as a method of another object.
    fetch: options.fetch ?? ((url, init) => globalThis.fetch(url, init)),
    fetchOpts,
    signal: fetchOpts.signal ?? null,
    attemptsMax: number("resume.attempts", resume.attempts, 10),
    delayMs: number("resume.delayMs", resume.delayMs, 250),
    delayMaxMs: number("resume.delayMaxMs", resume.delayMaxMs, 10_000),
    idleTimeoutMs: number("idleTimeoutMs", options.idleTimeoutMs, 45_000),
    attach: attach === false ? null : { lastEventId: attach === true ? null : attach.lastEventId },
    onReconnecting: options.onReconnecting ?? (() => undefined),
  };
}

function number(name: string, value: number | undefined, otherwise: number): number {
  const number = value ?? otherwise;
  if (!(number >= 0)) throw new RangeError(`${name} must not be negative, is ${number}`);
  return number;
}
