// The wire by hand, for what the SDK does not do of its own accord.

import { createHash, randomBytes } from "node:crypto";

/** A step's id as the wire has it. */
export const hash = (id) => createHash("sha1").update(id).digest("hex");

const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** A new run's id, as the SDK makes them. */
export function ulid(now = Date.now()) {
  let time = "";
  for (let left = now; time.length < 10; left = Math.floor(left / 32)) time = digits[left % 32] + time;
  return time + [...randomBytes(16)].map((byte) => digits[byte % 32]).join("");
}

const op = (id, more) => ({ id: hash(id), displayName: id, userland: { id }, opts: {}, ...more });

export const ran = (id, data) => op(id, { op: "StepRun", name: id, data });
export const planned = (id) => op(id, { op: "StepPlanned", name: id });
export const sleeping = (id, duration) => op(id, { op: "Sleep", name: duration });
export const waiting = (id, name, opts) => op(id, { op: "WaitForEvent", name, opts });
export const stepFailed = (id, message) => op(id, { op: "StepFailed", error: { name: "Error", message } });
export const complete = (value) => ({
  id: hash("complete"),
  op: "RunComplete",
  data: { status: 200, headers: { "content-type": "application/json" }, body: JSON.stringify(value), version: 2 },
});

/** The body of a first checkpoint. `endpoint` is where the engine will call. */
export function firstCheckpoint(runId, endpoint, steps, { event, ...more } = {}) {
  const { origin, pathname, search } = new URL(endpoint);
  const data = {
    domain: origin,
    method: "GET",
    path: pathname,
    query_params: search.slice(1),
    content_type: "",
    ip: "",
    body: "",
    fn: "",
    ...event,
  };
  const request = { name: "inngest/http.request", data };
  return { run_id: runId, event: request, steps, ts: Date.now(), request_version: 2, retries: 3, ...more };
}

/** The body of a later checkpoint. */
export const laterCheckpoint = (runId, steps) => ({ fn_id: "f", app_id: "a", run_id: runId, steps, ts: Date.now() });

/** Where a run's outcome is. */
export const outputUrl = (engine, runId, token) => `${engine.url}/v1/http/runs/${runId}/output?token=${token}`;

/** Where a run's stream is. */
export const streamUrl = (engine, token) => `${engine.url}/v1/realtime/sse?token=${encodeURIComponent(token)}`;
