// A story that streams, and the client that reads it.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { fetchWithStream } from "inngest/experimental/durable-endpoints/client";
import { program } from "./programs.mjs";

const STORY = "Ada opened a request and left. The process was killed, and nobody noticed. In the morning everything was there.";

test("streaming: words arrive as they are written, and those of a step that failed are rolled back", async (t) => {
  const { url } = await program(t, "streaming");
  const seen = { runs: new Set(), committed: [], rolledBack: [], arrivals: [] };
  let provisional = [];
  const settle = (into) => () => {
    if (provisional.length > 0) into.push(provisional);
    provisional = [];
  };
  const response = await fetchWithStream(`${url}/story`, {
    onMetadata: ({ runId }) => seen.runs.add(runId),
    onData: ({ data, hashedStepId }) => {
      assert.match(hashedStepId, /^[0-9a-f]{40}$/);
      seen.arrivals.push(Date.now());
      provisional.push(data);
    },
    onCommit: settle(seen.committed),
    onRollback: settle(seen.rolledBack),
  });
  assert.equal(response.status, 200);
  assert.deepEqual(await response.json(), { story: STORY });
  assert.equal(seen.runs.size, 1);
  assert.deepEqual(seen.rolledBack, [["The", " process", " was", " killed,"]]);
  const [[title], ...chapters] = seen.committed;
  assert.deepEqual(title, { title: "The story of Ada" });
  assert.equal(chapters.map((words) => words.join("")).join(" "), STORY);
  assert.ok(seen.arrivals.at(-1) - seen.arrivals[0] > 1_500, "they did not arrive in one piece");
});

test("streaming: the client in the terminal prints what is committed and what is rolled back", async (t) => {
  const { url } = await program(t, "streaming");
  const client = fileURLToPath(new URL("../dist/stream-client.js", import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [client, `${url}/story?hero=Grace`]);
  const lines = stdout.trim().split("\n");
  assert.match(lines[0], /^run [0-9A-Z]{26}$/);
  assert.ok(lines.includes("[The process was killed,] rolled back"), stdout);
  assert.ok(lines.includes("[The process was killed, and nobody noticed.] committed"), stdout);
  assert.match(lines.at(-1), /^200 \{"story":"Grace opened/);
});

test("streaming: a client that does not read streams gets the same answer", async (t) => {
  const { url } = await program(t, "streaming");
  const response = await fetch(`${url}/story`);
  assert.deepEqual(JSON.parse(await response.json()), { story: STORY });
});
