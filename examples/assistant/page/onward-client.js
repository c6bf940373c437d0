// Generated from clients/typescript by `npm run bundle` in examples/assistant. Do not edit.
// SPDX-License-Identifier: Apache-2.0 OR MIT


// src/error.ts
var ProtocolError = class extends Error {
  name = "ProtocolError";
};
var ConnectionLostError = class extends Error {
  name = "ConnectionLostError";
  runId;
  waitingUrl;
  lastEventId;
  constructor(message, run, cause) {
    super(message, { cause });
    this.runId = run.runId;
    this.waitingUrl = run.waitingUrl;
    this.lastEventId = run.lastEventId;
  }
};

// src/json.ts
function isRecord(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
function isStringRecord(value) {
  return isRecord(value) && Object.values(value).every((entry) => typeof entry === "string");
}

// src/frame.ts
function parseFrame(event) {
  const read = READERS.get(event.event);
  if (!read) return null;
  let data;
  try {
    data = JSON.parse(event.data);
  } catch (error) {
    throw new ProtocolError(`the data of an ${event.event} frame is not JSON`, { cause: error });
  }
  const frame = isRecord(data) ? read(data, event.id === "" ? null : event.id) : null;
  if (!frame) throw new ProtocolError(`the data of an ${event.event} frame has not the frame's shape`);
  return frame;
}
function failureMessage(response) {
  try {
    const body = JSON.parse(response.body);
    return typeof body === "string" ? body : response.body;
  } catch {
    return response.body;
  }
}
var READERS = /* @__PURE__ */ new Map([
  ["inngest.metadata", ({ runId }, id) => typeof runId === "string" ? { type: "metadata", id, runId } : null],
  [
    "inngest.stream",
    (data, id) => {
      const step = data["hashedStepId"] ?? null;
      return isStepId(step) ? { type: "stream", id, data: data["data"] ?? null, hashedStepId: step } : null;
    }
  ],
  ["inngest.commit", ({ hashedStepId }, id) => isStepId(hashedStepId) ? { type: "commit", id, hashedStepId } : null],
  [
    "inngest.rollback",
    ({ hashedStepId }, id) => isStepId(hashedStepId) ? { type: "rollback", id, hashedStepId } : null
  ],
  [
    "inngest.redirect_info",
    ({ runId, url }, id) => typeof runId === "string" && typeof url === "string" && url !== "" ? { type: "redirect_info", id, runId, url } : null
  ],
  [
    "inngest.response",
    ({ status, response }, id) => (status === "succeeded" || status === "failed") && isContent(response) ? { type: "response", id, status, response } : null
  ]
]);
function isStepId(value) {
  return value === null || typeof value === "string";
}
function isContent(value) {
  if (!isRecord(value)) return false;
  const { body, bodyEncoding, statusCode, headers, headerPairs } = value;
  return typeof body === "string" && (bodyEncoding === void 0 || bodyEncoding === "base64") && Number.isInteger(statusCode) && isStringRecord(headers) && (headerPairs === void 0 || Array.isArray(headerPairs) && headerPairs.every(isPair));
}
function isPair(value) {
  return Array.isArray(value) && value.length === 2 && value.every((part) => typeof part === "string");
}

// src/problem.ts
var ProblemError = class _ProblemError extends Error {
  name = "ProblemError";
  /** What went wrong: the last part of the problem's `type`, such as `token-invalid`; null where there is none. */
  code;
  /** The HTTP status. */
  status;
  /** What the problem is about, such as `/runs/01ABC…`; null where the answer does not say. */
  instance;
  constructor(message, problem) {
    super(message);
    this.code = problem.code;
    this.status = problem.status;
    this.instance = problem.instance;
  }
  /**
   * Reads a response that is an error into one, whether or not it is `application/problem+json`.
   *
   * The body is used up. One that cannot be read counts as empty.
   */
  static async fromResponse(response) {
    const body = await readProblem(response);
    const title = text(body["title"]) ?? `${response.status} ${response.statusText}`.trim();
    const detail = text(body["detail"]);
    return new _ProblemError(detail === null ? title : `${title}: ${detail}`, {
      code: codeOf(text(body["type"])),
      status: response.status,
      instance: text(body["instance"])
    });
  }
};
async function readProblem(response) {
  const type = response.headers.get("content-type") ?? "";
  if (!/^application\/problem\+json\s*(;|$)/i.test(type)) {
    response.body?.cancel().catch(() => void 0);
    return {};
  }
  try {
    const body = await response.json();
    return isRecord(body) ? body : {};
  } catch {
    return {};
  }
}
function text(value) {
  return typeof value === "string" ? value : null;
}
function codeOf(type) {
  const match = /([^/#?:]+?)(?:\.md|\.html)?\/?(?:[#?].*)?$/.exec(type ?? "");
  return type === "about:blank" ? null : match?.[1] ?? null;
}

// src/response.ts
var NULL_BODY = /* @__PURE__ */ new Set([101, 204, 205, 304]);
function toResponse(content) {
  try {
    const headers = new Headers({ ...content.headers });
    const pairs = content.headerPairs ?? [];
    for (const [name] of pairs) headers.delete(name);
    for (const [name, value] of pairs) headers.append(name, value);
    return build(decodeBody(content), content.statusCode, "", headers);
  } catch (error) {
    throw new ProtocolError("the run's response is not one that HTTP allows", { cause: error });
  }
}
function build(body, status, statusText, headers) {
  return new Response(NULL_BODY.has(status) ? null : body, { status, statusText, headers });
}
async function toResponseFrame(response) {
  const bytes = new Uint8Array(await response.arrayBuffer());
  const pairs = [...response.headers];
  const content = { statusCode: response.status, headers: Object.fromEntries(pairs), headerPairs: pairs };
  const status = response.status < 500 ? "succeeded" : "failed";
  return { type: "response", id: null, status, response: { ...content, ...encodeBody(bytes) } };
}
function decodeBody(content) {
  if (content.bodyEncoding === void 0) return new TextEncoder().encode(content.body);
  return Uint8Array.from(atob(content.body), (char) => char.charCodeAt(0));
}
function encodeBody(bytes) {
  try {
    return { body: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    let binary = "";
    for (const byte of bytes) binary += String.fromCharCode(byte);
    return { body: btoa(binary), bodyEncoding: "base64" };
  }
}

// src/sse.ts
var CR = 13;
var LF = 10;
var SseParser = class {
  #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #atStart = true;
  #afterCr = false;
  #line = "";
  #event = "";
  #data = null;
  #id = "";
  #comments = 0;
  #retryMs = null;
  /** How many comment lines came: servers send them as heartbeats. */
  get comments() {
    return this.#comments;
  }
  /** The reconnection time that the stream asked for last, in milliseconds; null where it asked for none. */
  get retryMs() {
    return this.#retryMs;
  }
  /** Takes the next chunk, and gives the events that it completes. */
  push(chunk) {
    let text2 = typeof chunk === "string" ? chunk : this.#decoder.decode(chunk, { stream: true });
    const events = [];
    if (text2 === "") return events;
    if (this.#atStart && text2.charCodeAt(0) === 65279) text2 = text2.slice(1);
    this.#atStart = false;
    let lineStart = 0;
    for (let at = 0; at < text2.length; at += 1) {
      const char = text2.charCodeAt(at);
      if (char !== CR && char !== LF) {
        this.#afterCr = false;
        continue;
      }
      if (char === LF && this.#afterCr) {
        this.#afterCr = false;
        lineStart = at + 1;
        continue;
      }
      this.#afterCr = char === CR;
      const event = this.#endLine(this.#line + text2.slice(lineStart, at));
      this.#line = "";
      lineStart = at + 1;
      if (event) events.push(event);
    }
    this.#line += text2.slice(lineStart);
    return events;
  }
  #endLine(line) {
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
  #field(name, value) {
    switch (name) {
      case "event":
        this.#event = value;
        break;
      case "data":
        this.#data = this.#data === null ? value : `${this.#data}
${value}`;
        break;
      case "id":
        if (!value.includes("\0")) this.#id = value;
        break;
      case "retry":
        if (/^[0-9]+$/.test(value)) this.#retryMs = Number(value);
        break;
    }
  }
  #dispatch() {
    const data = this.#data;
    const event = this.#event === "" ? "message" : this.#event;
    this.#data = null;
    this.#event = "";
    return data === null ? null : { event, data, id: this.#id };
  }
};

// src/time.ts
var TIMER_MAX_MS = 2 ** 31 - 1;
var TimeoutError = class extends Error {
  name = "TimeoutError";
};
function within(work, limits, late) {
  const { signal, timeoutMs, timeoutMessage } = limits;
  return new Promise((resolve, reject) => {
    let timer;
    let settled = false;
    const settle = () => {
      if (settled) return false;
      settled = true;
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      return true;
    };
    const abort = () => {
      if (settle()) reject(signal?.reason);
    };
    work.then(
      (value) => settle() ? resolve(value) : late?.(value),
      (error) => {
        if (settle()) reject(error);
      }
    );
    if (signal?.aborted) return abort();
    signal?.addEventListener("abort", abort);
    if (timeoutMs > 0) {
      const expire = () => {
        if (settle()) reject(new TimeoutError(timeoutMessage));
      };
      timer = setTimeout(expire, Math.min(timeoutMs, TIMER_MAX_MS));
    }
  });
}
function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(
      () => {
        signal?.removeEventListener("abort", abort);
        resolve();
      },
      Math.min(ms, TIMER_MAX_MS)
    );
    if (signal?.aborted) return abort();
    signal?.addEventListener("abort", abort, { once: true });
  });
}

// src/connection.ts
var Unavailable = class extends Error {
  name = "Unavailable";
  /** How long the server asks to wait; 0 where it does not say. */
  retryAfterMs;
  constructor(problem, retryAfterMs) {
    super(problem.message, { cause: problem });
    this.retryAfterMs = retryAfterMs;
  }
};
async function openEndpoint(url, options) {
  const headers = new Headers(options.fetchOpts.headers);
  headers.set("accept", "text/event-stream");
  const limits = { signal: options.signal, timeoutMs: 0, timeoutMessage: "" };
  const response = await within(call(options, url, { ...options.fetchOpts, headers }), limits, discard);
  if (!isStream(response)) return { kind: "final", response };
  return stream(response, resolveUrl(url, globalThis.location?.href));
}
async function openWaiting(from, options) {
  const cut = new AbortController();
  const limits = {
    signal: options.signal,
    timeoutMs: from.timeoutMs,
    timeoutMessage: `nothing came for ${from.timeoutMs} ms`
  };
  try {
    const init = { ...resumingInit(from, options.fetchOpts), signal: cut.signal };
    const response = await within(call(options, from.url, init), limits, discard);
    return await judge(response, from.url, limits);
  } catch (error) {
    cut.abort();
    throw error;
  }
}
async function judge(response, url, limits) {
  if (response.ok && isStream(response)) return stream(response, url);
  if (response.headers.has("onward-run-id")) {
    const body = await readAll(response, limits);
    const final = build(body, response.status, response.statusText, new Headers(response.headers));
    return { kind: "final", response: final };
  }
  const { status } = response;
  if (status === 202 || status === 429 || status >= 500) {
    const retryAfterMs = parseRetryAfter(response.headers.get("retry-after"));
    throw new Unavailable(await within(ProblemError.fromResponse(response), limits), retryAfterMs);
  }
  if (status >= 400) throw await within(ProblemError.fromResponse(response), limits);
  discard(response);
  throw new ProtocolError(`the waiting URL answered with ${status}, neither a stream nor the run's response`);
}
async function readAll(response, limits) {
  const parts = [];
  const reader = response.body?.getReader();
  try {
    for (; ; ) {
      const part = await (reader ? within(reader.read(), limits) : null);
      if (!part || part.done) return new Blob(parts);
      parts.push(part.value);
    }
  } finally {
    reader?.cancel().catch(() => void 0);
  }
}
async function* readEvents(body, reading) {
  const reader = body.getReader();
  const parser = new SseParser();
  try {
    for (; ; ) {
      const timeoutMs = reading.idleMs(parser.comments);
      const timeoutMessage = `nothing came for ${timeoutMs} ms`;
      const chunk = await within(reader.read(), { signal: reading.signal, timeoutMs, timeoutMessage });
      if (chunk.done) return;
      const events = parser.push(chunk.value);
      if (parser.retryMs !== null) reading.onRetry(parser.retryMs);
      yield* events;
    }
  } finally {
    reader.cancel().catch(() => void 0);
  }
}
function resolveUrl(url, base) {
  try {
    return new URL(url, base).href;
  } catch {
    return url;
  }
}
var ONCE = /^(accept|content-.*|idempotency-key|if-.*|last-event-id|prefer|range)$/;
function resumingInit(from, fetchOpts) {
  const headers = new Headers({ accept: "text/event-stream" });
  if (from.lastEventId !== null) headers.set("last-event-id", from.lastEventId);
  if (!sameOrigin(from.url, from.origin)) return { headers, cache: "no-store" };
  for (const [name, value] of new Headers(fetchOpts.headers)) {
    if (!ONCE.test(name)) headers.set(name, value);
  }
  const { credentials } = fetchOpts;
  return { headers, cache: "no-store", ...credentials === void 0 ? {} : { credentials } };
}
function sameOrigin(url, other) {
  try {
    return new URL(url).origin === new URL(other).origin;
  } catch {
    return url === other;
  }
}
async function call(options, url, init) {
  options.signal?.throwIfAborted();
  const { fetch } = options;
  return fetch(url, init);
}
function isStream(response) {
  return /^\s*text\/event-stream\s*(;|$)/i.test(response.headers.get("content-type") ?? "");
}
function stream(response, asked) {
  if (!response.body) throw new ProtocolError("the stream has no body");
  return { kind: "stream", url: response.url === "" ? asked : response.url, body: response.body };
}
function discard(response) {
  response.body?.cancel().catch(() => void 0);
}
function parseRetryAfter(value) {
  if (value === null) return 0;
  if (/^\s*[0-9]+\s*$/.test(value)) return Number(value) * 1e3;
  const at = Date.parse(value);
  return Number.isNaN(at) ? 0 : Math.max(0, at - Date.now());
}

// src/cursor.ts
var USEFUL_MS = 1e4;
var Cursor = class {
  signal;
  /** The URL as it was given, and resolved. */
  #asked;
  #url;
  #options;
  #runId = null;
  #waitingUrl = null;
  #lastEventId = null;
  /** Whether the connection is the one to the endpoint itself. */
  #direct;
  /** Whether the server sends ids or heartbeats, so that silence means a dead connection. */
  #beats = false;
  /** The least delay that the stream itself asked for. */
  #retryMs = 0;
  /** Attempts to resume since a connection was last of use. */
  #attempts = 0;
  #openedAt = 0;
  constructor(url, options) {
    this.signal = options.signal;
    this.#asked = url;
    this.#url = resolveUrl(url, globalThis.location?.href);
    this.#options = options;
    this.#direct = options.attach === null;
    if (options.attach) {
      this.#waitingUrl = this.#url;
      this.#lastEventId = options.attach.lastEventId;
    }
  }
  /** Makes the first connection. */
  async open() {
    const opening = this.#direct ? openEndpoint(this.#asked, this.#options) : this.#resume(void 0, true);
    return this.#note(await opening);
  }
  /** Makes the next connection after one ended: by the error `lost`, or in good order. */
  async reopen(lost) {
    const planned = this.#direct && lost === void 0 && this.#waitingUrl !== null;
    this.#direct = false;
    if (performance.now() - this.#openedAt >= USEFUL_MS) this.#attempts = 0;
    if (planned) this.#options.onReconnecting({ attempt: 0, delayMs: 0, error: void 0 });
    return this.#note(await this.#resume(lost, planned));
  }
  /** Reads an event of a connection to `url`; null for one that gives no new frame. */
  take(event, url) {
    const frame = parseFrame(event);
    if (frame?.type === "metadata" && frame.runId === this.#runId) return null;
    if (event.id !== "") {
      this.#lastEventId = event.id;
      this.#beats = true;
    }
    if (!frame) return null;
    switch (frame.type) {
      case "metadata":
        this.#runId = frame.runId;
        return frame;
      case "redirect_info":
        this.#waitingUrl = resolveUrl(frame.url, url);
        return { ...frame, url: this.#waitingUrl };
      default:
        if (frame.id !== null) this.#attempts = 0;
        return frame;
    }
  }
  // ===== Reading =====
  idleMs(comments) {
    this.#beats ||= comments > 0;
    return this.#beats ? this.#options.idleTimeoutMs : 0;
  }
  onRetry(retryMs) {
    this.#retryMs = retryMs;
  }
  // ===== Resuming =====
  async #resume(lost, atOnce) {
    const { attemptsMax, onReconnecting } = this.#options;
    let error = lost;
    let askedMs = 0;
    for (let waits = !atOnce; ; waits = true) {
      const url = this.#waitingUrl;
      if (url === null || waits && this.#attempts >= attemptsMax) throw this.#lostError(error);
      if (waits) {
        const delayMs = Math.max(this.#delayMs(), askedMs, this.#retryMs);
        this.#attempts += 1;
        onReconnecting({ attempt: this.#attempts, delayMs, error });
        await sleep(delayMs, this.signal);
      }
      const from = { url, origin: this.#url, lastEventId: this.#lastEventId, timeoutMs: this.idleMs(0) };
      try {
        return await openWaiting(from, this.#options);
      } catch (failed) {
        this.signal?.throwIfAborted();
        if (failed instanceof ProblemError || failed instanceof ProtocolError) throw failed;
        error = failed;
        askedMs = failed instanceof Unavailable ? failed.retryAfterMs : 0;
      }
    }
  }
  #note(opened) {
    this.#openedAt = performance.now();
    return opened;
  }
  /** Doubles with each attempt; a random part of up to a half is taken off, so that clients do not come all at once. */
  #delayMs() {
    const { delayMs, delayMaxMs } = this.#options;
    return Math.min(delayMaxMs, delayMs * 2 ** this.#attempts) * (1 - Math.random() / 2);
  }
  #lostError(cause) {
    const tries = this.#attempts === 0 ? "" : ` and ${this.#attempts} attempts to resume it failed`;
    const why = cause instanceof Error ? `: ${cause.message}` : "";
    const run = { runId: this.#runId, waitingUrl: this.#waitingUrl, lastEventId: this.#lastEventId };
    return new ConnectionLostError(`the stream ended before the run's response${tries}${why}`, run, cause);
  }
};

// src/options.ts
function resolveOptions(options) {
  const resume = options.resume === false ? { attempts: 0 } : options.resume ?? {};
  const fetchOpts = options.fetchOpts ?? {};
  const attach = options.attach ?? false;
  return {
    // Why a local function: browsers refuse a `fetch` that is called as a method of another object.
    fetch: options.fetch ?? ((url, init) => globalThis.fetch(url, init)),
    fetchOpts,
    signal: fetchOpts.signal ?? null,
    attemptsMax: number("resume.attempts", resume.attempts, 10),
    delayMs: number("resume.delayMs", resume.delayMs, 250),
    delayMaxMs: number("resume.delayMaxMs", resume.delayMaxMs, 1e4),
    idleTimeoutMs: number("idleTimeoutMs", options.idleTimeoutMs, 45e3),
    attach: attach === false ? null : { lastEventId: attach === true ? null : attach.lastEventId },
    onReconnecting: options.onReconnecting ?? (() => void 0)
  };
}
function number(name, value, otherwise) {
  const number2 = value ?? otherwise;
  if (!(number2 >= 0)) throw new RangeError(`${name} must not be negative, is ${number2}`);
  return number2;
}

// src/stream.ts
async function* streamFrames(url, options = {}) {
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
async function* readRun(url, options) {
  const resolved = resolveOptions(options);
  const { signal } = resolved;
  const cursor = new Cursor(String(url), resolved);
  let opened = await cursor.open();
  while (opened.kind === "stream") {
    let lost;
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

// src/client.ts
async function fetchWithStream(url, options = {}) {
  const callbacks = new Callbacks(options);
  let result;
  try {
    result = { response: await deliver(url, options, callbacks) };
  } catch (error) {
    result = { error };
    if (!callbacks.threw && !options.fetchOpts?.signal?.aborted) {
      const message = error instanceof Error ? error.message : String(error);
      callbacks.attempt(() => options.onStreamError?.(message));
    }
  }
  const done = callbacks.attempt(() => options.onDone?.());
  if ("error" in result) throw result.error;
  if (done) throw done.error;
  return result.response;
}
async function deliver(url, options, callbacks) {
  const onReconnecting = (args) => callbacks.reconnecting(args);
  let response;
  for await (const part of readRun(url, { ...options, onReconnecting })) {
    if (part.type === "final") response = part.response;
    else callbacks.deliver(part);
  }
  if (!response) throw new Error("a run's stream always ends with a response");
  return response;
}
var Callbacks = class {
  #options;
  threw = false;
  constructor(options) {
    this.#options = options;
  }
  /** Calls what the frame is for. Throws what it throws. */
  deliver(frame) {
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
          return frame.status === "failed" ? options.onStreamError?.(failureMessage(frame.response)) : void 0;
        case "redirect_info":
          return void 0;
      }
    });
  }
  reconnecting(args) {
    this.#call(() => this.#options.onReconnecting?.(args));
  }
  /** Calls and gives back what was thrown. */
  attempt(call2) {
    try {
      call2();
      return null;
    } catch (error) {
      return { error };
    }
  }
  #call(call2) {
    try {
      call2();
    } catch (error) {
      this.threw = true;
      throw error;
    }
  }
};

// src/state.ts
var emptyState = { runId: null, chunks: [], outcome: null };
function applyFrame(state, frame) {
  switch (frame.type) {
    case "metadata":
      return frame.runId === state.runId ? state : { ...state, runId: frame.runId };
    case "stream": {
      const chunk = { data: frame.data, hashedStepId: frame.hashedStepId, committed: false };
      return { ...state, chunks: [...state.chunks, chunk] };
    }
    case "commit":
      return { ...state, chunks: state.chunks.map((chunk) => isOpen(chunk, frame) ? commit(chunk) : chunk) };
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
function isOpen(chunk, of) {
  return !chunk.committed && chunk.hashedStepId === of.hashedStepId;
}
function commit(chunk) {
  return chunk.committed ? chunk : { ...chunk, committed: true };
}
export {
  ConnectionLostError,
  ProblemError,
  ProtocolError,
  SseParser,
  applyFrame,
  emptyState,
  failureMessage,
  fetchWithStream,
  parseFrame,
  streamFrames,
  toResponse
};
