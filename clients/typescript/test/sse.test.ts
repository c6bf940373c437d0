// The event parser: everything the format allows, cut anywhere.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type SseEvent, SseParser } from "@onward/client";
import { random } from "./server.js";

function parse(...chunks: (string | Uint8Array)[]): SseEvent[] {
  const parser = new SseParser();
  return chunks.flatMap((chunk) => parser.push(chunk));
}

const event = (data: string, event = "message", id = ""): SseEvent => ({ event, data, id });

const CASES: [name: string, text: string, events: SseEvent[]][] = [
  ["a named event with an id", "id: 7\nevent: x\ndata: 1\n\n", [event("1", "x", "7")]],
  ["no space after the colon, and only one is taken off", "data:a\n\ndata:  b\n\n", [event("a"), event(" b")]],
  ["carriage returns", "event: x\rdata: 1\r\rdata: 2\r\r", [event("1", "x"), event("2")]],
  ["carriage returns with line feeds", "event: x\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", [event("1", "x"), event("2")]],
  ["several data lines", "data: a\ndata:\ndata: b\n\n", [event("a\n\nb")]],
  ["empty data is data", "data:\n\ndata\n\n", [event(""), event("")]],
  ["no data is no event, and its name is forgotten", "event: x\n\ndata: 1\n\n", [event("1")]],
  [
    "an id holds on, and changes without an event",
    "id: 1\ndata: a\n\ndata: b\n\nid: 2\n\ndata: c\n\n",
    [event("a", "message", "1"), event("b", "message", "1"), event("c", "message", "2")],
  ],
  ["an empty id takes it back", "id: 1\ndata: a\n\nid\ndata: b\n\n", [event("a", "message", "1"), event("b")]],
  [
    "an id with a null character is ignored",
    "id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n",
    [event("a", "message", "1"), event("b", "message", "1")],
  ],
  ["comments and unknown fields are skipped", ":\n\n: hi\nfoo: 1\ndata: a\n:x\ndata: b\n\n", [event("a\nb")]],
  ["a byte order mark at the start is skipped, only there", "\ufeffdata: \ufeffa\n\n", [event("\ufeffa")]],
  ["what is not ended by an empty line is not seen", "data: a\n\ndata: b\n", [event("a")]],
  ["characters of every length", "data: aé✓🦀\n\n", [event("aé✓🦀")]],
];

for (const [name, text, events] of CASES) {
  test(`${name}, whole and cut at every byte`, () => {
    const bytes = new TextEncoder().encode(text);
    assert.deepEqual(parse(text), events);
    assert.deepEqual(parse(bytes), events);
    assert.deepEqual(parse(...[...bytes].map((byte) => Uint8Array.of(byte))), events);
    assert.deepEqual(parse(...text), events);
    for (let at = 0; at <= bytes.length; at += 1) {
      assert.deepEqual(parse(bytes.subarray(0, at), bytes.subarray(at)), events, `cut at ${at}`);
    }
  });
}

test("random texts give the same events however they are cut", () => {
  const pieces = ["data", "id", "event", ":", " ", "\n", "\r", "\r\n", "\n\n", "é", "🦀", "x", "\ufeff", "data: y\n\n"];
  for (let seed = 0; seed < 500; seed += 1) {
    const draw = random(seed);
    const text = Array.from({ length: 40 }, () => pieces[Math.floor(draw() * pieces.length)] ?? "").join("");
    const bytes = new TextEncoder().encode(text);
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < bytes.length;) {
      const length = 1 + Math.floor(draw() * 5);
      chunks.push(bytes.subarray(at, at + length));
      at += length;
    }
    assert.deepEqual(parse(...chunks), parse(bytes), `seed ${seed}`);
  }
});

test("comments are counted and the reconnection time is read", () => {
  const parser = new SseParser();
  parser.push(":\n\nretry: 12x\nretry: \n");
  assert.equal(parser.retryMs, null);
  parser.push(": a\nretry: 1500\n");
  assert.equal(parser.retryMs, 1500);
  assert.equal(parser.comments, 2);
});

test("a long line in small chunks takes time in proportion", () => {
  const parser = new SseParser();
  parser.push("data: ");
  for (let at = 0; at < 20_000; at += 1) parser.push("x".repeat(100));
  assert.equal(parser.push("\n\n")[0]?.data.length, 2_000_000);
});
