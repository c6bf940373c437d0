// The endpoints on Bun, as a client meets them.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { fetchWithStream } from "inngest/experimental/durable-endpoints/client";
import { startEngine, startExample } from "../../harness.mjs";

const FOLDER = fileURLToPath(new URL("../", import.meta.url));

async function program(t) {
  const engine = await startEngine(t);
  const { url } = await startExample(t, engine, join(FOLDER, "node_modules/.bin/bun"), ["src/server.ts"], { cwd: FOLDER });
  return url;
}

const json = async (response) => (await response).json();

test("a step that fails is tried again, and the steps before it are not", async (t) => {
  const url = await program(t);
  const response = await fetch(`${url}/process?user=Grace`);
  assert.ok(response.redirected && new URL(response.url).pathname === "/wait", response.url);
  const { order, ...rest } = await response.json();
  assert.equal(order.user, "Grace");
  // The order's id is the one under which the service counts: had it changed, this would not be the second try.
  assert.deepEqual(rest, {
    charge: { cents: 4200, tries: 2 },
    mail: "mail to Grace",
    parcel: "parcel for Grace",
  });
});

test("an article is published when its own event comes", async (t) => {
  const url = await program(t);
  const asked = ["1", "2"].map(async (article) => {
    const { headers } = await fetch(`${url}/publish?article=${article}`, { redirect: "manual" });
    return headers.get("location");
  });
  const [one, two] = (await Promise.all(asked)).map((location) => json(fetch(location)));
  const { ids } = await json(fetch(`${url}/approve?article=2`));
  assert.equal(ids.length, 1);
  const published = await two;
  assert.equal(published.published, true);
  assert.ok(Date.parse(published.at) > 0);
  await fetch(`${url}/approve?article=1&approved=false`);
  assert.deepEqual(await one, { article: "1", published: false });
});

test("an article that nobody decides on is not published", async (t) => {
  const url = await program(t);
  assert.deepEqual(await json(fetch(`${url}/publish?article=3&timeout=1s`)), { article: "3", published: false });
});

test("a stream goes on where the process's own answer ends", async (t) => {
  const url = await program(t);
  const seen = [];
  let commits = 0;
  const response = await fetchWithStream(`${url}/stream?from=6`, {
    onData: ({ data }) => seen.push(data),
    onCommit: () => (commits += 1),
    onRollback: () => assert.fail("nothing is rolled back"),
  });
  assert.deepEqual(await response.json(), { counted: "6 5 4 3 2 1 " });
  assert.deepEqual(seen, ["6 ", "5 ", "4 ", { hold: "is over" }, "3 ", "2 ", "1 "]);
  assert.ok(commits >= 2, `${commits} commits`);
});

test("the proxy may be used from other origins", async (t) => {
  const url = await program(t);
  const response = await fetch(`${url}/wait`, { method: "OPTIONS" });
  assert.equal(response.status, 204);
  assert.equal(response.headers.get("access-control-allow-origin"), "*");
});
