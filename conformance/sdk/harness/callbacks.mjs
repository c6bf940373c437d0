// Calls fetchWithStream of the SDK, and writes down how its callbacks are called.

import { fetchWithStream } from "inngest/experimental/durable-endpoints/client";
import { hash } from "./wire.mjs";

/** Calls in order: `["data", value, step]`, `["commit", step]`, `["rollback", step]`. */
export async function streamed(url, steps = [], options = {}) {
  const names = new Map(steps.map((id) => [hash(id), id]));
  const named = (id) => names.get(id) ?? id;
  const calls = [];
  let runId;
  const response = await fetchWithStream(url, {
    ...options,
    onMetadata: (metadata) => {
      if (runId && runId !== metadata.runId) throw new Error(`two runs: ${runId} and ${metadata.runId}`);
      runId = metadata.runId;
    },
    onData: ({ data, hashedStepId }) => calls.push(["data", data, named(hashedStepId)]),
    onCommit: ({ hashedStepId }) => calls.push(["commit", named(hashedStepId)]),
    onRollback: ({ hashedStepId }) => calls.push(["rollback", named(hashedStepId)]),
  });
  return { calls, runId, response };
}
