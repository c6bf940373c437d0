// `npm run client`: reads the story. Words are in brackets until they are permanent; what is rolled back is told.

import { fetchWithStream } from "inngest/experimental/durable-endpoints/client";

const url = process.argv[2] ?? "http://localhost:3000/story";

let run: string | null = null;

/** The words of steps that may still fail. */
let provisional = "";

const response = await fetchWithStream(url, {
  fetchOpts: { signal: AbortSignal.timeout(60_000) },
  // It is told again by each process that goes on with the run.
  onMetadata: ({ runId }) => {
    if (!run) console.log(`run ${runId}`);
    run = runId;
  },
  onData: ({ data }) => {
    provisional += typeof data === "string" ? data : JSON.stringify(data);
    if (process.stdout.isTTY) process.stdout.write(`\r[${provisional}]`);
  },
  onCommit: () => settle("committed"),
  onRollback: () => settle("rolled back"),
});
console.log(`${response.status} ${await response.text()}`);

function settle(how: string): void {
  if (provisional) console.log(`${process.stdout.isTTY ? "\r" : ""}[${provisional}] ${how}`);
  provisional = "";
}
