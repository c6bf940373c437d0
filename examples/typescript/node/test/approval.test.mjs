// An order that waits for people.

import assert from "node:assert/strict";
import { test } from "node:test";
import { json, program } from "./programs.mjs";

/** Orders, and gives where the order can be waited for. */
async function order(url, query) {
  const response = await fetch(`${url}/order?${query}`, { redirect: "manual" });
  assert.equal(response.status, 302);
  const wait = new URL(response.headers.get("location"));
  assert.equal(wait.origin + wait.pathname, `${url}/wait`);
  return wait.href;
}

test("approval: the event that matches lets the order go on, and those of other orders do not", async (t) => {
  const { url } = await program(t, "approval");
  const [one, two] = await Promise.all([order(url, "orderId=1"), order(url, "orderId=2")]);
  const answers = [json(fetch(one)), json(fetch(two))];

  await fetch(`${url}/approve?orderId=3`);
  await fetch(`${url}/approve?orderId=2&approved=false`);
  assert.deepEqual(await answers[1], { orderId: "2", status: "rejected" });

  const sent = await json(fetch(`${url}/approve?orderId=1`));
  assert.equal(sent.ids.length, 1);
  // An event counts if it comes after the wait has begun, and when that is nobody here knows: so they pay until it does.
  const paying = setInterval(async () => {
    await fetch(`${url}/pay?orderId=1&cents=4199`);
    await fetch(`${url}/pay?orderId=2&cents=9999`);
    await fetch(`${url}/pay?orderId=1&cents=5000`);
  }, 300);
  t.after(() => clearInterval(paying));
  assert.deepEqual(await answers[0], { orderId: "1", item: "lamp", status: "paid", cents: 5000 });
});

test("approval: when nobody decides in time, the order goes on without", async (t) => {
  const { url } = await program(t, "approval");
  assert.deepEqual(await json(fetch(`${url}/order?orderId=4&timeout=1s`)), { orderId: "4", status: "nobody decided" });
});

test("approval: the proxy says what is missing", async (t) => {
  const { url } = await program(t, "approval");
  const response = await fetch(`${url}/wait`);
  assert.equal(response.status, 400);
  assert.match((await response.json()).error, /runId/);
});
