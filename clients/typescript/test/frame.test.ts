// Frames out of events, responses out of frames, and what still counts.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Frame,
  ProtocolError,
  applyFrame,
  emptyState,
  failureMessage,
  parseFrame,
  toResponse,
} from "@onward/client";
import { random } from "./server.js";

const parse = (name: string, data: unknown): Frame | null =>
  parseFrame({ event: `inngest.${name}`, data: JSON.stringify(data), id: "5" });

const content = { body: "x", statusCode: 200, headers: {} };

test("each frame has its type", () => {
  const id = "5";
  assert.deepEqual(parse("metadata", { runId: "r", more: 1 }), { type: "metadata", id, runId: "r" });
  assert.deepEqual(parse("stream", { data: [1] }), { type: "stream", id, data: [1], hashedStepId: null });
  assert.deepEqual(parse("stream", { data: null, hashedStepId: "a" }), {
    type: "stream",
    id,
    data: null,
    hashedStepId: "a",
  });
  assert.deepEqual(parse("commit", { hashedStepId: "a" }), { type: "commit", id, hashedStepId: "a" });
  assert.deepEqual(parse("rollback", { hashedStepId: null }), { type: "rollback", id, hashedStepId: null });
  assert.deepEqual(parse("redirect_info", { runId: "r", url: "/w" }), {
    type: "redirect_info",
    id,
    runId: "r",
    url: "/w",
  });
  const response = { status: "failed", response: content };
  assert.deepEqual(parse("response", response), { type: "response", id, ...response });
});

test("other events are no frames", () => {
  assert.equal(parseFrame({ event: "message", data: "x", id: "" }), null);
  assert.equal(parse("new_thing", 1), null);
});

test("a known name with other data is a protocol error", () => {
  assert.throws(() => parseFrame({ event: "inngest.stream", data: "{", id: "" }), ProtocolError);
  const wrong: [string, unknown][] = [
    ["metadata", { runId: 1 }],
    ["metadata", null],
    ["stream", [1]],
    ["stream", { data: 1, hashedStepId: 2 }],
    ["commit", {}],
    ["rollback", { hashedStepId: 1 }],
    ["redirect_info", { runId: "r" }],
    ["redirect_info", { runId: "r", url: "" }],
    ["response", { status: "ok", response: content }],
    ["response", { status: "failed", response: { ...content, statusCode: "200" } }],
    ["response", { status: "failed", response: { ...content, headers: { a: 1 } } }],
    ["response", { status: "failed", response: { ...content, bodyEncoding: "gzip" } }],
    ["response", { status: "failed", response: { ...content, headerPairs: [["a"]] } }],
    ["response", { status: "failed", response: { ...content, statusCode: 200.5 } }],
    ["response", { status: "failed" }],
  ];
  for (const [name, data] of wrong) assert.throws(() => parse(name, data), ProtocolError, JSON.stringify([name, data]));
});

test("a response has the frame's status, headers and body, and nothing added", async () => {
  const response = toResponse({ body: "é", statusCode: 418, headers: { "x-a": "1" } });
  assert.equal(response.status, 418);
  assert.deepEqual([...response.headers], [["x-a", "1"]]);
  assert.equal(await response.text(), "é");
});

test("statuses without a body give a response without one", async () => {
  for (const statusCode of [204, 205, 304]) {
    const response = toResponse({ body: "", statusCode, headers: { etag: "1" } });
    assert.equal(response.status, statusCode);
    assert.equal(response.body, null);
    assert.equal(response.headers.get("etag"), "1");
  }
});

test("bytes come out of base64, and repeated headers out of pairs", async () => {
  const response = toResponse({
    body: "AP+A",
    bodyEncoding: "base64",
    statusCode: 200,
    headers: { "Set-Cookie": "a=1, b=2", "x-a": "1" },
    headerPairs: [
      ["set-cookie", "a=1"],
      ["set-cookie", "b=2"],
    ],
  });
  assert.deepEqual(new Uint8Array(await response.arrayBuffer()), Uint8Array.of(0, 255, 128));
  assert.deepEqual(response.headers.getSetCookie(), ["a=1", "b=2"]);
  assert.equal(response.headers.get("x-a"), "1");
});

test("a response that HTTP does not allow is a protocol error", () => {
  const wrong = [
    { ...content, statusCode: 99 },
    { ...content, statusCode: 600 },
    { ...content, headers: { "a b": "1" } },
    { ...content, bodyEncoding: "base64" as const, body: "%" },
  ];
  for (const one of wrong) assert.throws(() => toResponse(one), ProtocolError, JSON.stringify(one));
});

test("a failure's message is its body's JSON string, or its body", () => {
  assert.equal(failureMessage({ ...content, body: '"card declined"' }), "card declined");
  assert.equal(failureMessage({ ...content, body: '{"a":1}' }), '{"a":1}');
  assert.equal(failureMessage({ ...content, body: "oops" }), "oops");
});

const chunk = (data: unknown, hashedStepId: string | null): Frame => ({ type: "stream", id: null, data, hashedStepId });
const commit = (hashedStepId: string | null): Frame => ({ type: "commit", id: null, hashedStepId });
const rollback = (hashedStepId: string | null): Frame => ({ type: "rollback", id: null, hashedStepId });

test("a rollback drops its step's provisional chunks only", () => {
  const frames = [chunk(1, "a"), commit("a"), chunk(2, "a"), chunk(3, "b"), chunk(4, null), rollback("a"), commit("b")];
  const { chunks } = frames.reduce(applyFrame, emptyState);
  assert.deepEqual(
    chunks.map(({ data, committed }) => [data, committed]),
    [
      [1, true],
      [3, true],
      [4, false],
    ],
  );
});

test("the end of a run that succeeded makes all chunks permanent, of one that failed none", () => {
  for (const status of ["succeeded", "failed"] as const) {
    const frames: Frame[] = [chunk(1, null), { type: "response", id: null, status, response: content }];
    const state = frames.reduce(applyFrame, emptyState);
    assert.deepEqual(
      state.chunks.map(({ committed }) => committed),
      [status === "succeeded"],
    );
    assert.deepEqual(state.outcome, { status, response: content });
  }
});

test("what still counts is what a ledger a step says, for random frames", () => {
  const steps = ["a", "b", null];
  for (let seed = 0; seed < 300; seed += 1) {
    const draw = random(seed);
    let state = emptyState;
    const kept = new Map<number, boolean>();
    const of = new Map<number, string | null>();
    for (let at = 0; at < 60; at += 1) {
      const step = steps[Math.floor(draw() * 3)] ?? null;
      const kind = draw();
      const before = JSON.stringify(state);
      const frame = kind < 0.6 ? chunk(at, step) : kind < 0.8 ? commit(step) : rollback(step);
      const next = applyFrame(state, frame);
      assert.equal(JSON.stringify(state), before, "the state given is not changed");
      state = next;
      if (frame.type === "stream") {
        kept.set(at, false);
        of.set(at, step);
        continue;
      }
      for (const [key, committed] of [...kept]) {
        if (of.get(key) !== step || committed) continue;
        if (frame.type === "commit") kept.set(key, true);
        else kept.delete(key);
      }
    }
    assert.deepEqual(
      state.chunks.map(({ data, committed }) => [data, committed]),
      [...kept],
      `seed ${seed}`,
    );
  }
});
