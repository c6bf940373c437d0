// What the endpoint programs share: the log of executed steps, clients, and a router.

import { AsyncLocalStorage } from "node:async_hooks";
import { appendFileSync } from "node:fs";
import { createServer } from "node:http";
import { Inngest, step } from "inngest";
import { getAsyncCtx } from "inngest/experimental";
import { endpointAdapter, serveEndpoint } from "inngest/node";

const silent = { info() {}, warn() {}, debug() {}, error() {} };

/** Which request is being answered. */
const calls = new AsyncLocalStorage();

/** @param {Record<string, unknown>} line */
export function log(line) {
  const about = { at: Date.now(), pid: process.pid, call: calls.getStore() };
  appendFileSync(process.env.LOG, `${JSON.stringify({ ...about, ...line })}\n`);
}

/** The id of the run that calls this. */
export async function currentRun() {
  return (await getAsyncCtx())?.execution?.ctx?.runId;
}

const counts = new Map();

/**
 * A step that writes into the log when its function starts and ends. The function is told which execution this is of
 * those that this process began, from 1.
 * @template T
 * @param {string | { id: string, parallelMode?: "race" }} id
 * @param {(n: number) => T | Promise<T>} body
 */
export function logged(id, body = () => {}, ...input) {
  const name = typeof id === "string" ? id : id.id;
  return step.run(id, async (...args) => {
    const runId = await currentRun();
    const n = (counts.get(`${runId} ${name}`) ?? 0) + 1;
    counts.set(`${runId} ${name}`, n);
    log({ kind: "start", runId, step: name, n });
    try {
      const value = await body(n, ...args);
      log({ kind: "end", runId, step: name, n });
      return value;
    } catch (error) {
      log({ kind: "threw", runId, step: name, n });
      throw error;
    }
  }, ...input);
}

const noOptions = { asyncRedirectUrl: undefined, asyncResponse: undefined, functionId: undefined, retries: undefined };

/**
 * A client of its own. The adapter's options are module-wide and are read when an endpoint is made, so each is made
 * at once.
 */
export function client(options = {}, more = {}) {
  const adapter = endpointAdapter.withOptions({ ...noOptions, ...options });
  return new Inngest({ id: "conformance", endpointAdapter: adapter, logger: silent, ...more });
}

/** A durable endpoint with options of its own. */
export const endpoint = (handler, options, more) => client(options, more).endpoint(handler);

/** A fetch that writes into the log what the engine acknowledged and what it remembers. */
export async function watchedFetch(input, init) {
  const { pathname } = new URL(typeof input === "string" || input instanceof URL ? input : input.url);
  const response = await fetch(input, init);
  if (!response.ok) return response;
  if (/^\/v1\/checkpoint(\/[^/]+\/steps)?$/.test(pathname)) {
    const { run_id: runId, steps } = JSON.parse(init.body);
    const ids = steps.filter(({ op }) => op === "StepRun").map(({ id }) => id);
    const token = pathname === "/v1/checkpoint" ? (await response.clone().json()).data.token : undefined;
    log({ kind: "ack", runId, ids, token, ops: steps.map(({ op }) => op) });
  } else if (/^\/v0\/runs\/[^/]+\/actions$/.test(pathname)) {
    log({ kind: "memo", runId: pathname.split("/")[3], ids: Object.keys(await response.clone().json()) });
  }
  return response;
}

/**
 * Listens on PORT. A route is a Node listener, or a handler of Web requests.
 * @param {Record<string, ((request: Request) => Promise<Response>) | { listener: import("node:http").RequestListener }>} routes
 */
export function listen(routes) {
  let answered = 0;
  const listeners = new Map(
    Object.entries(routes).map(([path, route]) => [path, route.listener ?? serveEndpoint(route)]),
  );
  const server = createServer((request, response) => {
    const path = request.url.split("?")[0];
    if (path === "/ready") return response.end("ready");
    const listener = listeners.get(path);
    if (!listener) return response.writeHead(404).end();
    const { method, headers } = request;
    const runId = headers["x-run-id"];
    const call = `${process.pid}-${(answered += 1)}`;
    log({ kind: "request", call, path, runId, method, headers });
    // A call may have been broken off before this process came to read it.
    response.once("close", () => response.writableFinished || log({ kind: "broken", call, path, runId }));
    return calls.run(call, () => listener(request, response));
  });
  server.listen(Number(process.env.PORT), "127.0.0.1");
}
