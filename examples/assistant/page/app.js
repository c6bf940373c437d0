// The page's run: asks, follows the stream over reloads and lost connections, and sends a person's decision.

import { ConnectionLostError, applyFrame, emptyState, streamFrames } from "./onward-client.js";
import { View } from "./view.js";

/** Where a tab keeps its run. */
const KEY = "assistant-run";
/** The server may be away for as long as it likes. */
const RESUME = { attempts: Infinity, delayMs: 250, delayMaxMs: 2000 };
const RETRY_MS = 1000;

/** The server cannot be reached, or not now. */
class Unreachable extends Error {}

const view = new View({ onAsk: ask, onDecide: decide });

/** The run that is shown: `{ id, question, waitingUrl }`, each null until it is known. */
let run = null;
let following = new AbortController();

const found = runOfLink() ?? kept();
if (found) show(found);

/** Asks a new question. A run that was shown goes on, but nobody watches it here. */
function ask(question) {
  show({ id: randomId(), question, waitingUrl: null });
}

function show(next) {
  following.abort();
  following = new AbortController();
  run = next;
  keep(run);
  follow(run, following.signal);
}

/** Follows a run to its end. */
async function follow(run, signal) {
  view.begin(run);
  for (;;) {
    try {
      return await read(run, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Unreachable || error instanceof ConnectionLostError)) {
        sessionStorage.removeItem(KEY);
        view.fail(error.message);
        return console.error(error);
      }
      // Nothing of the run was shown yet. It is asked again under its key, and joins the run if there is one.
      view.lost();
      await sleep(RETRY_MS);
      if (signal.aborted) return;
    }
  }
}

async function read(run, signal) {
  let state = emptyState;
  for await (const frame of framesOf(run, signal)) {
    if (frame.type === "redirect_info") learn(run, { waitingUrl: pathOf(frame.url) });
    if (frame.type === "stream" && frame.data?.kind === "question") {
      learn(run, { id: frame.data.id, question: frame.data.question });
    }
    const before = state;
    state = applyFrame(state, frame);
    await view.apply(frame, before, state, signal);
    signal.throwIfAborted();
  }
}

/** The run's frames: from its waiting URL as soon as that is known, all that still counts, in order. */
function framesOf({ id, question, waitingUrl }, signal) {
  const onReconnecting = ({ attempt }) => attempt > 0 && view.lost();
  if (waitingUrl) return streamFrames(waitingUrl, { attach: true, resume: RESUME, onReconnecting, fetchOpts: { signal } });
  const headers = { "content-type": "application/json", "idempotency-key": id };
  const body = JSON.stringify({ id, question });
  const fetchOpts = { method: "POST", headers, body, signal };
  return streamFrames("/ask", { fetch: reach, resume: RESUME, onReconnecting, fetchOpts });
}

/** Tells a server that is not there from one that refuses. */
async function reach(url, init) {
  let response;
  try {
    response = await fetch(url, init);
  } catch (cause) {
    throw new Unreachable("the server cannot be reached", { cause });
  }
  // A first answer: those of the waiting URL are judged by the client.
  if (response.status === 503 && init?.method === "POST") throw new Unreachable("the server is not ready");
  return response;
}

/** Sends the decision until it is accepted. Its id makes a second click, or another tab's, count for nothing. */
async function decide(approved) {
  const { id } = run;
  const { signal } = following;
  const event = { id: `decision-${id}`, name: "answer/approved", data: { id, approved } };
  const request = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(event) };
  while (!signal.aborted) {
    const response = await fetch("/events", request).catch(() => null);
    if (response?.ok) return view.decided(approved);
    if (response && response.status < 500) return view.undecided(`the server refused it (${response.status})`);
    await sleep(RETRY_MS);
  }
}

// ===== What a tab keeps =====

function learn(run, known) {
  Object.assign(run, known);
  keep(run);
  view.know(run);
}

function keep(run) {
  sessionStorage.setItem(KEY, JSON.stringify(run));
}

function kept() {
  return JSON.parse(sessionStorage.getItem(KEY) ?? "null");
}

/** The run that a link from another tab names. The token is taken out of the address. */
function runOfLink() {
  if (location.hash.length < 2) return null;
  const named = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
  // Only this server's own waiting route: a link must not make the page read another.
  return named.startsWith("/wait?") ? { id: null, question: null, waitingUrl: named } : null;
}

function pathOf(url) {
  const { pathname, search } = new URL(url, location.href);
  return pathname + search;
}

/** 128 random bits. (`crypto.randomUUID` wants HTTPS.) */
function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
