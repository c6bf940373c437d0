// The React hook in a browser, in StrictMode: its states, reloads, unmounting.

import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { Script, begin, succeeded } from "../server.js";
import { useBrowser, visit } from "./site.js";

useBrowser();

const script = new Script([
  ["metadata", { runId: "run1" }],
  ["redirect_info", { runId: "run1", url: "/wait" }],
  ["stream", { data: "one", hashedStepId: "a" }],
  ["commit", { hashedStepId: "a" }],
  ["stream", { data: "bad", hashedStepId: "b" }],
  ["rollback", { hashedStepId: "b" }],
  ["stream", { data: "two", hashedStepId: "b" }],
  ["response", succeeded("fine")],
]);

/** Waits until the page shows this. */
async function shows(page: Page, text: string): Promise<void> {
  await page
    .locator("#run")
    .filter({ hasText: text })
    .waitFor({ timeout: 10_000 })
    .catch(async () => {
      assert.equal(await page.locator("#run").textContent(), text);
    });
}

const stored = (page: Page): Promise<string | null> => page.evaluate(() => sessionStorage.getItem("onward:/run"));

/** The frames from one to another, counted from 1. */
const frames = (from: number, to: number): string => script.frames.slice(from - 1, to).join("");

test("a run goes through its states, over a rollback and a cut", async (t) => {
  let waiting: ServerResponse | undefined;
  let first: ServerResponse | undefined;
  const { page, calls } = await visit(t, (call, res) => {
    if (call.path === "/run") first = begin(res);
    else waiting = res;
  });
  await page.goto(page.url() + "hook");
  await shows(page, "idle | - |  | - | - | -");
  await page.click("#start");
  await shows(page, "waiting | - |  | - | - | -");
  first?.write(frames(1, 5));
  await shows(page, "streaming | run1 | one! bad? | - | - | -");
  first?.write(frames(6, 6));
  await shows(page, "streaming | run1 | one! | - | - | -");
  first?.destroy();
  await shows(page, "waiting | run1 | one! | - | - | -");
  assert.ok(waiting);
  begin(waiting).write(frames(7, 7));
  await shows(page, "streaming | run1 | one! two? | - | - | -");
  waiting.end(frames(8, 8));
  await shows(page, "done | run1 | one! two! | fine | 200 | -");
  assert.deepEqual(
    calls.map(({ method, body, headers }) => [method, body, headers["last-event-id"]]),
    [
      ["POST", "input", undefined],
      ["GET", "", "6"],
    ],
  );
  assert.equal(await stored(page), null);
});

test("a reloaded page goes on with its run, and shows each chunk once", async (t) => {
  const open = new Set<ServerResponse>();
  const { page, calls } = await visit(t, (call, res) => {
    // A late reader is sent what still counts.
    begin(res).write(call.path === "/run" ? frames(1, 5) : frames(1, 4));
    open.add(res);
    res.on("close", () => open.delete(res));
  });
  await page.goto(page.url() + "hook");
  await page.click("#start");
  await shows(page, "streaming | run1 | one! bad? | - | - | -");
  await page.reload();
  await shows(page, "streaming | run1 | one! | - | - | -");
  await calls[0]?.closed;
  const path = (at: number): string | undefined => calls.at(at)?.path;
  assert.deepEqual([path(-1), calls.at(-1)?.headers["last-event-id"]], ["/wait", undefined]);
  for (const res of open) res.end(frames(7, 8));
  await shows(page, "done | run1 | one! two! | fine | 200 | -");
  assert.equal(await stored(page), null);
});

test("unmounting closes the connection, and mounting goes on with the run", async (t) => {
  const { page, calls } = await visit(t, (call, res) =>
    begin(res).write(call.path === "/run" ? frames(1, 5) : frames(1, 4)),
  );
  await page.goto(page.url() + "hook");
  await page.click("#start");
  await shows(page, "streaming | run1 | one! bad? | - | - | -");
  await page.click("#toggle");
  await calls[0]?.closed;
  assert.equal(await page.locator("#run").count(), 0);
  await page.click("#toggle");
  await shows(page, "streaming | run1 | one! | - | - | -");
});

test("a component that is hidden and shown again keeps its chunks and goes on after the last frame", async (t) => {
  const { page, calls } = await visit(t, (call, res) =>
    begin(res).write(call.path === "/run" ? frames(1, 4) : frames(5, 5)),
  );
  await page.goto(page.url() + "hook");
  await page.click("#start");
  await shows(page, "streaming | run1 | one! | - | - | -");
  await page.click("#hide");
  await calls[0]?.closed;
  await page.click("#hide");
  await shows(page, "streaming | run1 | one! bad? | - | - | -");
  assert.equal(calls.at(-1)?.headers["last-event-id"], "4");
});

test("stop closes the connection, keeps the chunks and forgets the run; start begins anew", async (t) => {
  const { page, calls } = await visit(t, (_, res) => begin(res).write(frames(1, 5)));
  await page.goto(page.url() + "hook");
  await page.click("#start");
  await shows(page, "streaming | run1 | one! bad? | - | - | -");
  assert.match((await stored(page)) ?? "", /^http:.*\/wait$/);
  await page.click("#stop");
  await shows(page, "idle | run1 | one! bad? | - | - | -");
  await calls[0]?.closed;
  assert.equal(await stored(page), null);
  await page.click("#start");
  await shows(page, "streaming | run1 | one! bad? | - | - | -");
  await page.click("#start");
  await calls[1]?.closed;
  // The one is closed before the next one comes.
  for (let tries = 0; calls.length < 3 && tries < 1000; tries++) await page.waitForTimeout(5);
  assert.equal(calls.length, 3);
});

test("a run that failed and one that is gone are errors", async (t) => {
  const failed = { status: "failed", response: { body: '"card declined"', statusCode: 500, headers: {} } };
  let cut = (): unknown => undefined;
  const { page, calls } = await visit(t, (call, res) => {
    if (call.path === "/wait")
      res.writeHead(410, { "content-type": "application/problem+json" }).end('{"title":"gone"}');
    else if (calls.length === 1) begin(res).end(frames(1, 3) + new Script([["response", failed]]).first(1));
    else {
      begin(res).write(frames(1, 3));
      cut = () => res.destroy();
    }
  });
  await page.goto(page.url() + "hook");
  await page.click("#start");
  await shows(page, 'error | run1 | one? | "card declined" | 500 | card declined');
  await page.click("#start");
  await shows(page, "streaming | run1 | one? | - | - | -");
  cut();
  await shows(page, "error | run1 | one? | - | - | gone");
  assert.equal(await stored(page), null);
});

test("an endpoint that does not stream gives its response", async (t) => {
  const { page } = await visit(t, (_, res) => res.writeHead(422).end("no"));
  await page.goto(page.url() + "hook");
  await page.click("#start");
  await shows(page, "done | - |  | no | 422 | -");
});
