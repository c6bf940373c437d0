// Parses server-sent events out of chunks that may be cut anywhere.

/** One event of a server-sent event stream. */
export interface SseEvent {
  /** The event's name; `message` where it has none. */
  readonly event: string;
  /** The data lines, joined by line feeds. */
  readonly data: string;
  /** The last id that the stream gave up to here, this event's own included; empty where it gave none. */
  readonly id: string;
}

const CR = 13;
const LF = 10;

/**
 * Parses one server-sent event stream, chunk by chunk.
 *
 * Chunks may end anywhere: inside a line ending, a field or a character. An event counts only once the empty line
 * after it has come, so what a cut connection left unfinished is never seen.
 */
export class SseParser {
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #atStart = true;
  #afterCr = false;
  #line = "";
  #event = "";
  #data: string | null = null;
  #id = "";
  #comments = 0;
  #retryMs: number | null = null;

  /** How many comment lines came: servers send them as heartbeats. */
  get comments(): number {
    return this.#comments;
  }

  /** The reconnection time that the stream asked for last, in milliseconds; null where it asked for none. */
  get retryMs(): number | null {
    return this.#retryMs;
  }

  /** Takes the next chunk, and gives the events that it completes. */
  push(chunk: Uint8Array | string): SseEvent[] {
    let text = typeof chunk === "string" ? chunk : this.#decoder.decode(chunk, { stream: true });
    const events: SseEvent[] = [];
    if (text === "") return events;
    if (this.#atStart && text.charCodeAt(0) === 0xfeff) text = text.slice(1);
    this.#atStart = false;

    let lineStart = 0;
    for (let at = 0; at < text.length; at += 1) {
      const char = text.charCodeAt(at);
      if (char !== CR && char !== LF) {
        this.#afterCr = false;
        continue;
      }
      if (char === LF && this.#afterCr) {
        // The second half of a CRLF, which may have come in a chunk of its own.
        this.#afterCr = false;
        lineStart = at + 1;
        continue;
      }
      this.#afterCr = char === CR;
      const event = this.#endLine(this.#line + text.slice(lineStart, at));
      this.#line = "";
      lineStart = at + 1;
      if (event) events.push(event);
    }
    this.#line += text.slice(lineStart);
    return events;
  }

  #endLine(line: string): SseEvent | null {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) {
      this.#comments += 1;
      return null;
    }
    const name = colon < 0 ? line : line.slice(0, colon);
    const valueStart = line.charAt(colon + 1) === " " ? colon + 2 : colon + 1;
    this.#field(name, colon < 0 ? "" : line.slice(valueStart));
    return null;
  }

  #field(name: string, value: string): void {
    switch (name) {
      case "event":
        this.#event = value;
        break;
      case "data":
        this.#data = this.#data === null ? value : `${this.#data}\n${value}`;
        break;
      case "id":
        if (!value.includes("\0")) this.#id = value;
        break;
      case "retry":
        if (/^[0-9]+$/.test(value)) this.#retryMs = Number(value);
        break;
    }
  }

  #dispatch(): SseEvent | null {
    const data = this.#data;
    const event = this.#event === "" ? "message" : this.#event;
    this.#data = null;
    this.#event = "";
    return data === null ? null : { event, data, id: this.#id };
  }
}
