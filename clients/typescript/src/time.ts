// Waiting that an abort ends at once, and that leaves nothing behind.

/** The longest that a timer can wait. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** Work took longer than it was given. */
export class TimeoutError extends Error {
  override readonly name = "TimeoutError";
}

/** What ends a wait early. */
export interface Limits {
  readonly signal: AbortSignal | null;
  /** 0 for no limit. */
  readonly timeoutMs: number;
  /** What the {@link TimeoutError} says. */
  readonly timeoutMessage: string;
}

/**
 * Waits for `work`, but not past an abort or a time.
 *
 * Throws the signal's reason, or {@link TimeoutError}. What the work gives after that goes to `late`.
 */
export function within<T>(work: Promise<T>, limits: Limits, late?: (value: T) => void): Promise<T> {
  const { signal, timeoutMs, timeoutMessage } = limits;
  return new Promise((resolve, reject) => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let settled = false;
    const settle = (): boolean => {
      if (settled) return false;
      settled = true;
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      return true;
    };
    const abort = (): void => {
      if (settle()) reject(signal?.reason);
    };
    work.then(
      (value) => (settle() ? resolve(value) : late?.(value)),
      (error: unknown) => {
        if (settle()) reject(error);
      },
    );
    if (signal?.aborted) return abort();
    signal?.addEventListener("abort", abort);
    if (timeoutMs > 0) {
      const expire = (): void => {
        if (settle()) reject(new TimeoutError(timeoutMessage));
      };
      timer = setTimeout(expire, Math.min(timeoutMs, TIMER_MAX_MS));
    }
  });
}

/** Waits. Throws the signal's reason at once if it is aborted. */
export function sleep(ms: number, signal: AbortSignal | null): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(
      () => {
        signal?.removeEventListener("abort", abort);
        resolve();
      },
      Math.min(ms, TIMER_MAX_MS),
    );
    if (signal?.aborted) return abort();
    signal?.addEventListener("abort", abort, { once: true });
  });
}
