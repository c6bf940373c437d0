// Reads server-sent events frame by frame.

import { pause } from "./program.mjs";

/** @typedef {{ id?: string, event: string, data: any, text: string }} Frame */

/**
 * The frames of an answer, without comments.
 * @param {Response} response
 * @returns {AsyncGenerator<Frame>}
 */
export async function* framesOf(response) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of response.body) {
    rest += decoder.decode(bytes, { stream: true });
    const parts = rest.split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      /** @type {Record<string, string>} */
      const fields = {};
      for (const line of part.split("\n")) {
        const [, name, text] = /^([^:]*): ?(.*)$/s.exec(line) ?? [];
        if (name) fields[name] = text;
      }
      if (fields.data === undefined) continue;
      yield { id: fields.id, event: fields.event, data: JSON.parse(fields.data), text: fields.data };
    }
  }
}

/** Opens a stream and reads it to its end, or until `until` holds of a frame. */
export async function readStream(url, { lastEventId, until = () => false, signal, headers = {} } = {}) {
  const response = await fetch(url, {
    signal,
    headers: { accept: "text/event-stream", ...(lastEventId && { "last-event-id": lastEventId }), ...headers },
  });
  /** @type {Frame[]} */
  const frames = [];
  for await (const frame of framesOf(response)) {
    frames.push(frame);
    if (until(frame)) break;
  }
  return { status: response.status, headers: response.headers, frames };
}

/**
 * Reads a run's stream to its terminal frame. Goes on after the last frame where a connection breaks, as browsers do.
 * `cutAfter` breaks each connection by itself after as many frames. The metadata that each connection begins with is
 * left out.
 */
export async function followStream(url, { cutAfter = Infinity, within = 60_000 } = {}) {
  const end = Date.now() + within;
  /** @type {Frame[]} */
  const frames = [];
  let connections = 0;
  let lastEventId;
  while (Date.now() < end) {
    connections += 1;
    const abort = AbortSignal.timeout(Math.max(1, end - Date.now()));
    let left = cutAfter;
    try {
      await readStream(url, {
        lastEventId,
        signal: abort,
        until(frame) {
          if (frame.event === "inngest.metadata") return false;
          frames.push(frame);
          lastEventId = frame.id ?? lastEventId;
          left -= 1;
          return frame.event === "inngest.response" || left <= 0;
        },
      });
    } catch {
      // The engine is down, or the connection broke: again.
    }
    if (frames.at(-1)?.event === "inngest.response") return { frames, connections };
    await pause(50);
  }
  throw new Error(`no terminal frame within ${within} ms; got ${JSON.stringify(frames)}`);
}

/** Frames as short words, for comparison: `metadata`, `stream:1`, `commit`, `rollback`, `succeeded`, `failed`. */
export const words = (frames) =>
  frames.map(({ event, data }) => {
    const name = event.replace("inngest.", "");
    if (name === "stream") return `stream:${JSON.stringify(data.data)}`;
    return name === "response" ? data.status : name;
  });
