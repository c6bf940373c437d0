// The cases by @onward/client, and what it can beyond them: it goes on where a connection or the server broke.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { applyFrame, emptyState, fetchWithStream, streamFrames } from "../../clients/typescript/dist/index.js";
import { cases, expectedCalls, recorder, startServer } from "./server.mjs";

describe("@onward/client", () => {
  let server;
  before(async () => {
    server = await startServer();
  });
  after(() => server.kill());

  for (const each of cases) {
    it(each.name, async () => {
      const { calls, callbacks } = recorder();
      const response = await fetchWithStream(`${server.url}${each.path}`, callbacks);
      const [first, ...rest] = calls;
      assert.equal(first[0], "metadata");
      assert.deepEqual(rest.pop(), ["done"]);
      if (each.response.status === "failed") {
        assert.deepEqual(rest.pop(), ["error", JSON.parse(each.response.body)]);
      }
      assert.deepEqual(rest, expectedCalls(each));
      assert.equal(response.status, each.response.statusCode);
      const body = Buffer.from(await response.arrayBuffer());
      assert.deepEqual(body, Buffer.from(each.response.bodyBase64 ?? each.response.body, each.response.bodyBase64 ? "base64" : "utf8"));
      if (each.response.setCookie) assert.deepEqual(response.headers.getSetCookie(), each.response.setCookie);
      for (const [name, value] of Object.entries(each.response.headers ?? {})) {
        assert.equal(response.headers.get(name), value);
      }
    });
  }

  it("connections that break again and again lose nothing and repeat nothing", async () => {
    let connections = 0;
    const cut = async (input, init) => {
      connections += 1;
      const response = await fetch(input, init);
      let left = 700;
      const cutter = new TransformStream({
        transform(bytes, controller) {
          if (left <= 0) return controller.error(new Error("the connection broke"));
          left -= bytes.length;
          controller.enqueue(bytes);
        },
      });
      return new Response(response.body.pipeThrough(cutter), response);
    };
    const numbers = [];
    const response = await fetchWithStream(`${server.url}/many`, {
      fetch: cut,
      resume: { attempts: 50, delayMs: 1, delayMaxMs: 5 },
      onData: ({ data }) => numbers.push(data),
    });
    assert.deepEqual(numbers, Array.from({ length: 100 }, (_, number) => number));
    assert.equal(await response.text(), "100");
    assert.ok(connections > 3, `${connections} connections`);
  });

  it("a server that is killed and starts again goes on with the stream", async () => {
    const folder = mkdtempSync(join(tmpdir(), "onward-"));
    const store = `sqlite:${join(folder, "onward.db")}`;
    const address = await freeAddress();
    let second;
    const first = await startServer(address, store);
    try {
      let state = emptyState;
      for await (const frame of streamFrames(`http://${address}/many`, { resume: { attempts: 50, delayMs: 20, delayMaxMs: 100 } })) {
        state = applyFrame(state, frame);
        if (frame.type === "stream" && frame.data === 40 && !second) {
          await first.kill();
          second = startServer(address, store);
        }
      }
      assert.deepEqual(state.chunks.map(({ data }) => data), Array.from({ length: 100 }, (_, number) => number));
      assert.ok(state.chunks.every(({ committed }) => committed));
    } finally {
      await (await second)?.kill();
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

function freeAddress() {
  return new Promise((resolve) => {
    const socket = createServer().listen(0, "127.0.0.1", () => {
      const { port } = socket.address();
      socket.close(() => resolve(`127.0.0.1:${port}`));
    });
  });
}
