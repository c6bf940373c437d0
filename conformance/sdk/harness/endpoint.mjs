// The programs of programs/, and the log that each writes of what it did.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { environment } from "./engine.mjs";
import { eventually, freePort, Program, temporaryFolder } from "./program.mjs";

const folder = (path) => fileURLToPath(new URL(path, import.meta.url));
const runtimes = { node: process.execPath, bun: folder("../node_modules/.bin/bun") };

/**
 * A line of an endpoint's log. `start` and `end` are of a step's function; `ack` lists the steps that the engine
 * acknowledged, `memo` those that it gave at the start of a re-entry; `token` is of a run that it took. `request` is a
 * call, and `broken` tells that its connection broke before it was answered.
 * @typedef {{ at: number, pid: number, call?: string, runId?: string, step?: string, n?: number, kind: string,
 *   ids?: string[], token?: string, [more: string]: unknown }} Line
 */

export class Endpoint extends Program {
  /**
   * @param {string} program in programs/, without its ending
   * @param {import("./engine.mjs").Engine} engine
   */
  static async start(program, engine, { env = {}, runtime = "node", port } = {}) {
    const cwd = temporaryFolder();
    port ??= await freePort();
    const log = join(cwd, "steps.jsonl");
    const own = { PORT: `${port}`, LOG: log, ENGINE: engine.url, INNGEST_DEV: engine.url, ...env };
    const present = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
    const url = `http://127.0.0.1:${port}`;
    const ready = () =>
      eventually("the endpoint listens", async () => (await fetch(`${url}/ready`)).ok, { within: 20_000 });
    const command = [runtimes[runtime], folder(`../programs/${program}.mjs`)];
    const endpoint = new Endpoint(`the endpoint ${program}`, command, { cwd, env: environment(present), ready });
    Object.assign(endpoint, { url, port, log });
    return endpoint.start();
  }

  /** All lines of its log. @returns {Line[]} */
  lines() {
    if (!existsSync(this.log)) return [];
    const text = readFileSync(this.log, "utf8");
    return text.slice(0, text.lastIndexOf("\n") + 1).split("\n").filter(Boolean).map((line) => JSON.parse(line));
  }

  /** The executions of a step's function. `runId` may be left out where a test has one run. */
  executions(step, runId) {
    return this.lines().filter((line) => line.kind === "start" && line.step === step && (!runId || line.runId === runId));
  }

  /** Waits for a line. @param {(line: Line) => boolean} found */
  line(what, found, within = 15_000) {
    return eventually(`the endpoint's log tells that ${what}`, () => this.lines().find(found), { within });
  }
}
