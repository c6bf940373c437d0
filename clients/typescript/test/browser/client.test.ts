// The built client in a browser, as an application without a bundler loads it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { begin, helloRun } from "../server.js";
import { useBrowser, visit } from "./site.js";

useBrowser();

const CLIENT = "/client/index.js";

test("a stream that is cut is resumed, and its callbacks come in order", async (t) => {
  const script = helloRun("/wait?token=t");
  const cut: (() => void)[] = [];
  const { page, calls } = await visit(t, (call, res) => {
    if (call.path === "/run") {
      begin(res).write(script.first(4));
      cut.push(() => void res.destroy());
    } else if (calls.length === 2) res.writeHead(503).end();
    else begin(res).end(script.after(call.headers["last-event-id"]));
  });
  // A cut also loses what the page has not read yet, so it comes when the page says so.
  await page.exposeFunction("cut", () => cut.pop()?.());
  const seen = await page.evaluate(async (path) => {
    const { fetchWithStream }: typeof import("@onward/client") = await import(path);
    const lines: string[] = [];
    const cut: unknown = Reflect.get(window, "cut");
    const response = await fetchWithStream("/run", {
      fetch: window.fetch,
      fetchOpts: { method: "POST", body: "input" },
      resume: { delayMs: 1 },
      onMetadata: ({ runId }) => lines.push(runId),
      onData: ({ data }) => {
        lines.push(JSON.stringify(data));
        if (data === "lo ✓" && cut instanceof Function) cut();
      },
      onCommit: ({ hashedStepId }) => lines.push(`commit ${hashedStepId}`),
      onStreamError: (error) => lines.push(error),
      onDone: () => lines.push("done"),
    });
    return { lines, status: response.status, body: await response.text() };
  }, CLIENT);
  assert.deepEqual(seen, {
    lines: ["run1", '"Hel"', '"lo ✓"', "commit a", '{"done":true}', "done"],
    status: 200,
    body: "Hello",
  });
  assert.deepEqual(
    calls.map(({ method, path, headers }) => [method, path, headers["last-event-id"]]),
    [
      ["POST", "/run", undefined],
      ["GET", "/wait?token=t", "4"],
      ["GET", "/wait?token=t", "4"],
    ],
  );
});

test("an abort rejects with an AbortError and closes the connection", async (t) => {
  const { page, calls } = await visit(t, (_, res) => begin(res).write(helloRun("/wait").first(3)));
  const seen = await page.evaluate(async (path) => {
    const { fetchWithStream }: typeof import("@onward/client") = await import(path);
    const lines: string[] = [];
    const controller = new AbortController();
    const result = await fetchWithStream("/run", {
      fetchOpts: { signal: controller.signal },
      onData: () => setTimeout(() => controller.abort()),
      onStreamError: (error) => lines.push(error),
      onDone: () => lines.push("done"),
    }).catch((error: unknown) => (error instanceof DOMException ? error.name : String(error)));
    return { lines, result };
  }, CLIENT);
  assert.deepEqual(seen, { lines: ["done"], result: "AbortError" });
  await calls[0]?.closed;
});

test("leaving the loop over frames closes the connection", async (t) => {
  const { page, calls } = await visit(t, (_, res) => begin(res).write(helloRun("/wait").first(3)));
  const types = await page.evaluate(async (path) => {
    const { streamFrames }: typeof import("@onward/client") = await import(path);
    const types: string[] = [];
    for await (const { type } of streamFrames("/run")) {
      types.push(type);
      if (type === "stream") break;
    }
    return types;
  }, CLIENT);
  assert.deepEqual(types, ["metadata", "redirect_info", "stream"]);
  await calls[0]?.closed;
});
