// How an answer reaches the client: at once, by a redirect, or by a token.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { json, program } from "./programs.mjs";

test("quickstart: an endpoint that does not pause answers at once", async (t) => {
  const { url } = await program(t, "quickstart");
  const response = await fetch(`${url}/?name=Ada`, { redirect: "error" });
  assert.equal((await response.json()).greeting, "Hello, Ada!");
});

test("quickstart: one that pauses sends the client to the engine, which has the answer later", async (t) => {
  const { url, engine } = await program(t, "quickstart");
  const asked = Date.now();
  const response = await fetch(`${url}/?name=Ada&pause=2s`);
  assert.ok(response.redirected && response.url.startsWith(engine), response.url);
  // As the proxy of the package needs it, the engine wraps a `Response` in a JSON string unless it is told not to.
  const answer = JSON.parse(await response.json());
  assert.equal(answer.greeting, "Hello, Ada!");
  assert.ok(Date.parse(answer.at) - asked >= 2_000, answer.at);
});

test("quickstart: a run goes on in the process that is there when its pause is over", async (t) => {
  const example = await program(t, "quickstart");
  const answer = fetch(`${example.url}/?name=Grace&pause=3s`).then((response) => response.json());
  await sleep(1_000);
  await example.kill();
  await sleep(500);
  await example.restart();
  assert.equal(JSON.parse(await answer).greeting, "Hello, Grace!");
});

test("redirects: a function sends the client where status, headers and body are the handler's own", async (t) => {
  const { url, engine } = await program(t, "redirects");
  const first = await fetch(`${url}/create?name=chair`, { redirect: "manual" });
  assert.equal(first.status, 302);
  const location = first.headers.get("location");
  assert.ok(location.startsWith(`${engine}/v1/http/runs/`), location);
  const response = await fetch(location);
  assert.equal(response.status, 201);
  assert.equal(response.headers.get("content-type"), "text/plain");
  assert.equal(response.headers.get("x-item"), "5");
  assert.equal(response.headers.get("access-control-allow-origin"), "*");
  assert.equal(await response.text(), "created chair\n");
});

test("token: the client gets a token instead, and asks with it", async (t) => {
  const { url } = await program(t, "token");
  const { run_id: runId, token } = await json(fetch(`${url}/report?month=June`, { redirect: "error" }));
  assert.match(runId, /^[0-9A-Z]{26}$/);
  const answer = await json(fetch(`${url}/result?${new URLSearchParams({ runId, token })}`));
  assert.deepEqual(answer, { month: "June", total: 44 });
  const refused = await fetch(`${url}/result?${new URLSearchParams({ runId, token: "nonsense" })}`);
  assert.equal(refused.status, 401);
});

test("body: a POST body is there in the first call and in each later one", async (t) => {
  const { url } = await program(t, "body");
  const body = JSON.stringify({ item: "lamp — größer", count: 3 });
  const response = await fetch(`${url}/order`, { method: "POST", body, headers: { "content-type": "application/json" } });
  assert.ok(response.redirected && new URL(response.url).pathname === "/wait", response.url);
  assert.deepEqual(await response.json(), { parcel: "3 x lamp — größer", cents: 4200 });
});
