// What must hold of runs whatever was killed, checked from outside: by the endpoint's log and the engine's answers.

import assert from "node:assert/strict";
import { output } from "./client.mjs";
import { eventually } from "./program.mjs";
import { hash, outputUrl } from "./wire.mjs";

/** @typedef {import("./endpoint.mjs").Line} Line */

/** The runs that an engine acknowledged, with their tokens. @param {Line[]} lines */
export function acknowledged(lines) {
  const runs = new Map();
  for (const { kind, runId, token } of lines) if (kind === "ack" && token) runs.set(runId, token);
  return runs;
}

/**
 * P2: no step starts after the endpoint was told, by an acknowledgement or at the start of a re-entry, that it is kept;
 * and none starts twice unless the first failed, or the call that executed it broke, or something was killed meanwhile.
 * @param {Line[]} lines
 * @param {number[]} kills when something was killed, in ms since the epoch
 */
export function assertStepsOnce(lines, kills) {
  const broken = new Set(lines.filter(({ kind }) => kind === "broken").map(({ call }) => call));
  const begun = new Map(lines.filter(({ kind }) => kind === "request").map(({ call, at }) => [call, at]));
  const kept = new Set();
  /** The start of a step's last execution that did not throw. @type {Map<string, Line>} */
  const last = new Map();
  for (const line of lines) {
    const { kind, runId, step, ids, at } = line;
    if (kind === "ack" || kind === "memo") for (const id of ids) kept.add(`${runId} ${id}`);
    if (kind === "threw") last.delete(`${runId} ${step}`);
    if (kind !== "start") continue;
    assert.ok(!kept.has(`${runId} ${hash(step)}`), `P2: ${step} ran again, though acknowledged: ${story(lines, runId, kills)}`);
    const before = last.get(`${runId} ${step}`);
    const excused =
      !before || broken.has(before.call) || kills.some((kill) => kill >= begun.get(before.call) && kill <= at);
    assert.ok(excused, `P2: ${step} ran twice, and nothing was killed: ${story(lines, runId, kills)}`);
    last.set(`${runId} ${step}`, line);
  }
}

/** What happened to a run, line by line. */
function story(lines, runId, kills) {
  const own = lines.filter((line) => line.runId === runId);
  const killed = kills.map((at) => ({ at, kind: "KILL" }));
  const told = [...own, ...killed].sort((a, b) => a.at - b.at);
  const say = ({ at, call, kind, step, ids }) =>
    `${at % 1e6} ${call ?? ""} ${kind} ${step ?? ids?.map((id) => id.slice(0, 6)) ?? ""}`;
  return [runId, ...told.map(say)].join("\n  ");
}

/**
 * P1, P4: a run ends with this value, and its outcome is the same bytes however often it is asked for.
 * @returns {Promise<string>} the outcome, to compare it with a later one
 */
export async function assertEnds(engine, runId, token, expected, within = 60_000) {
  const url = outputUrl(engine, runId, token);
  const end = AbortSignal.timeout(within);
  const first = await eventually(`the outcome of ${runId}`, () => output(url, { signal: end }), { within, every: 200 });
  assert.equal(first.status, 200, `P1: ${runId}: ${first.text}`);
  assert.deepEqual(first.json(), expected, `P1: ${runId}`);
  const second = await output(url);
  assert.equal(second.text, first.text, `P4: ${runId}`);
  return first.text;
}

/** P6: `after` did not start within `ms` of the end of `before`. @param {Line[]} lines */
export function assertNotEarly(lines, runId, before, after, ms) {
  const own = lines.filter((line) => line.runId === runId);
  const woken = own.find(({ kind, step }) => kind === "start" && step === after).at;
  const begun = own.findLast(({ kind, step, at }) => kind === "end" && step === before && at <= woken).at;
  assert.ok(woken - begun >= ms, `P6: ${runId} slept ${woken - begun} of ${ms} ms`);
}

/**
 * P8: frames come once and in order, and what is left after the rollbacks is this.
 * @param {import("./sse.mjs").Frame[]} frames
 * @param {unknown[]} expected
 */
export function assertStream(frames, expected) {
  const ids = frames.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length, "P8: a frame came twice");
  const committed = [];
  /** @type {Map<string | null, unknown[]>} */
  const pending = new Map();
  for (const { event, data } of frames) {
    const step = data.hashedStepId ?? null;
    if (event === "inngest.stream") pending.set(step, [...(pending.get(step) ?? []), data.data]);
    if (event === "inngest.commit") committed.push(...(pending.get(step) ?? []));
    if (event === "inngest.commit" || event === "inngest.rollback") pending.delete(step);
  }
  assert.deepEqual(committed, expected, "P8: what was committed");
  assert.deepEqual([...pending.values()].flat(), [], "P8: nothing is left neither committed nor rolled back");
  assert.equal(frames.filter(({ event }) => event === "inngest.response").length, 1, "P8: one terminal frame");
}
