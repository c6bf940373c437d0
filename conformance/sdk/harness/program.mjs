// Programs in processes of their own: started, killed by their ids, started again; their output is kept.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** @type {Set<import("node:child_process").ChildProcess>} */
const running = new Set();
/** @type {Set<string>} */
const folders = new Set();

process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
  if (!process.env.KEEP) for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

/** A folder of its own, gone at the end unless KEEP is set. */
export function temporaryFolder() {
  const folder = mkdtempSync(join(tmpdir(), "onward-sdk-"));
  folders.add(folder);
  return folder;
}

/**
 * A port that nothing listens on. It is below those that systems give to outgoing connections, so none of them takes it
 * while a program that had it is down; and above those that fetch() refuses.
 * @returns {Promise<number>}
 */
export async function freePort() {
  for (;;) {
    const port = 11_000 + Math.floor(Math.random() * 20_000);
    const free = await new Promise((resolve) => {
      const socket = createServer().once("error", () => resolve(false));
      socket.listen(port, "127.0.0.1", () => socket.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

/** @param {number} ms */
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * What `check` gives once it gives something other than undefined, null or false.
 * @template T
 * @param {string} what
 * @param {() => T | Promise<T>} check
 */
export async function eventually(what, check, { within = 10_000, every = 20 } = {}) {
  const end = Date.now() + within;
  let problem;
  for (;;) {
    try {
      const found = await check();
      if (found) return found;
      problem = undefined;
    } catch (error) {
      problem = error;
    }
    if (Date.now() > end) {
      throw new Error(`not within ${within} ms: ${what}${problem ? ` (${problem.cause ?? problem})` : ""}`, { cause: problem });
    }
    await pause(every);
  }
}

/** A program: what to start, and the process that runs it now. */
export class Program {
  /**
   * @param {string} name
   * @param {string[]} command
   * @param {{ env: Record<string, string>, cwd: string, ready: (program: Program) => Promise<unknown> }} options
   */
  constructor(name, command, { env, cwd, ready }) {
    Object.assign(this, { name, command, env, cwd, ready });
    /** All that it wrote, in all of its lives. */
    this.output = "";
    /** When it was killed, in ms since the epoch. @type {number[]} */
    this.killedAt = [];
  }

  async start() {
    const [file, ...args] = this.command;
    const child = spawn(file, args, { env: this.env, cwd: this.cwd, stdio: ["ignore", "pipe", "pipe"] });
    this.child = child;
    running.add(child);
    const keep = (bytes) => (this.output += bytes);
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    this.exited = new Promise((resolve) => {
      child.once("error", (error) => resolve((keep(String(error)), { code: -1 })));
      child.once("exit", (code, signal) => resolve({ code, signal }));
    });
    this.expected = false;
    this.exited.then(({ code, signal }) => {
      running.delete(child);
      // Endpoints may be told to kill themselves; nothing else ends uncalled for.
      if (!this.expected && signal !== "SIGKILL") {
        console.error(`${this.name} ended by itself (${code ?? signal}):\n${this.output.slice(-4_000)}`);
      }
    });
    const early = this.exited.then(({ code, signal }) => {
      throw new Error(`${this.name} ended at once (${code ?? signal})`);
    });
    early.catch(() => {});
    try {
      await Promise.race([this.ready(this), early]);
    } catch (error) {
      await this.kill();
      error.message += `\n${this.name} wrote:\n${this.output.slice(-4_000)}`;
      throw error;
    }
    return this;
  }

  /** Ends it at once, as `kill -9` does. */
  async kill() {
    this.expected = true;
    this.killedAt.push(Date.now());
    this.child.kill("SIGKILL");
    await this.exited;
  }

  /** Asks it to end, and gives how it did. */
  async stop() {
    this.expected = true;
    this.child.kill("SIGTERM");
    const forced = setTimeout(() => this.child.kill("SIGKILL"), 30_000);
    const end = await this.exited;
    clearTimeout(forced);
    return end;
  }

  /** Kills it and starts it again, after `down` ms. */
  async restart(down = 0) {
    await this.kill();
    if (down) await pause(down);
    await this.start();
  }
}
