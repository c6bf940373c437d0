// However a stream is cut, its reader sees each frame once and in order.

import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import { type Frame, applyFrame, emptyState, streamFrames } from "@onward/client";
import { Script, begin, random, serve, succeeded } from "./server.js";

const RUNS = Number(process.env["ONWARD_PROPERTY_RUNS"] ?? 150);

test("random cuts lose, repeat and reorder no frame", async (t) => {
  let handle: (path: string, lastEventId: string | undefined, res: ServerResponse) => void = () => undefined;
  const { url } = await serve(t, (call, res) => handle(call.path, call.headers["last-event-id"]?.toString(), res));
  const first = Number(process.env["ONWARD_PROPERTY_SEED"] ?? 1);
  for (let seed = first; seed < first + RUNS; seed += 1) {
    const draw = random(seed);
    const script = randomScript(draw);
    let onMovable = (): void => undefined;
    handle = (path, lastEventId, res) => {
      if (path !== "/run") return answer(draw, script, lastEventId, res);
      // A stream that is cut before the client knows where it goes on is lost, so the cuts come after that.
      begin(res).write(script.first(2));
      onMovable = () => sendCut(draw, script.after("2"), res);
    };
    const frames: Frame[] = [];
    const options = { resume: { attempts: 200, delayMs: 0 } };
    for await (const frame of streamFrames(`${url}/run`, options)) {
      frames.push(frame);
      if (frame.type === "redirect_info") onMovable();
    }

    const message = `ONWARD_PROPERTY_SEED=${seed} ONWARD_PROPERTY_RUNS=1`;
    assert.deepEqual(
      frames.map(({ id }) => id),
      script.frames.map((_, at) => String(at + 1)),
      message,
    );
    const { chunks, outcome } = frames.reduce(applyFrame, emptyState);
    assert.deepEqual(
      chunks.map(({ data }) => data),
      truth(frames),
      message,
    );
    assert.equal(outcome?.response.body, "🦀 done", message);
  }
});

/** Answers one connection to the waiting URL: refuses it, or sends the rest and cuts it. */
function answer(draw: () => number, script: Script, lastEventId: string | undefined, res: ServerResponse): void {
  const kind = draw();
  if (kind < 0.1) return void res.writeHead(503).end();
  if (kind < 0.2) return void res.destroy();
  const repeated = draw() < 0.3 ? (script.frames[0] ?? "") : "";
  const beats = draw() < 0.3 ? ":\n\n" : "";
  sendCut(draw, beats + repeated + script.after(lastEventId), begin(res));
}

/** Sends a random number of a text's bytes in random pieces, and ends or breaks the connection. */
function sendCut(draw: () => number, text: string, res: ServerResponse): void {
  const bytes = Buffer.from(text);
  const cut = draw() < 0.1 ? bytes.length : Math.min(bytes.length, Math.floor(draw() * 400));
  for (let at = 0; at < cut;) {
    const next = Math.min(cut, at + 1 + Math.floor(draw() * 60));
    res.write(bytes.subarray(at, next));
    at = next;
  }
  if (draw() < 0.5) res.end();
  else res.write(":", () => setImmediate(() => res.destroy()));
}

function randomScript(draw: () => number): Script {
  const frames: [string, unknown][] = [
    ["metadata", { runId: "run1" }],
    ["redirect_info", { runId: "run1", url: "/wait?token=é" }],
  ];
  const steps = ["a", "b"];
  for (let at = Math.floor(draw() * 40); at > 0; at -= 1) {
    const hashedStepId = steps[Math.floor(draw() * steps.length)];
    const kind = draw();
    if (kind < 0.7) frames.push(["stream", { data: `${at} ✓ ${"🦀".repeat(draw() * 5)}`, hashedStepId }]);
    else frames.push([kind < 0.85 ? "commit" : "rollback", { hashedStepId }]);
  }
  frames.push(["response", succeeded("🦀 done")]);
  return new Script(frames);
}

/** What counts at the end, told from behind: a chunk falls by a rollback before which no commit of its step came. */
function truth(frames: readonly Frame[]): unknown[] {
  return frames.flatMap((frame, at) => {
    if (frame.type !== "stream") return [];
    const verdict = frames
      .slice(at)
      .find(
        (later) => (later.type === "commit" || later.type === "rollback") && later.hashedStepId === frame.hashedStepId,
      );
    return verdict?.type === "rollback" ? [] : [frame.data];
  });
}
