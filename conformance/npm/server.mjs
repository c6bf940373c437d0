// Starts the server that the cases are about.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const folder = (path) => fileURLToPath(new URL(path, import.meta.url));

/** The program: built by `cargo build -p conformance-server`, or named by CONFORMANCE_SERVER. */
const program = process.env.CONFORMANCE_SERVER ?? folder("../../target/debug/conformance-server");

/** The cases. */
export const cases = JSON.parse(readFileSync(folder("../streaming.json"), "utf8"));

/** A step's id as frames have it. */
export const hashed = (step) => (step === undefined ? null : createHash("sha1").update(step).digest("hex"));

/** A server in a process of its own: its URL, and how to end it. */
export async function startServer(address = "127.0.0.1:0", store = "memory:") {
  const child = spawn(program, [address, store], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const failed = new Promise((_, reject) => child.once("error", reject));
  const line = new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).once("line", resolve);
    exited.then(() => reject(new Error("the server ended before it listened")));
  });
  const url = await Promise.race([line, failed]);
  const end = async (signal) => {
    child.kill(signal);
    await exited;
  };
  return { url, kill: () => end("SIGKILL"), stop: () => end("SIGTERM") };
}

/** What a case expects, as calls of a client's callbacks. */
export function expectedCalls({ frames }) {
  return frames.map(({ type, step, data }) => {
    const hashedStepId = hashed(step);
    return type === "stream" ? ["data", { data, hashedStepId }] : [type, { hashedStepId }];
  });
}

/** Callbacks that write down how they are called. */
export function recorder() {
  const calls = [];
  const record = (name) => (argument) => void calls.push(argument === undefined ? [name] : [name, argument]);
  let tell;
  const done = new Promise((resolve) => (tell = resolve));
  return {
    calls,
    done,
    callbacks: {
      onMetadata: record("metadata"),
      onData: record("data"),
      onCommit: record("commit"),
      onRollback: record("rollback"),
      onStreamError: record("error"),
      onDone: () => {
        calls.push(["done"]);
        tell();
      },
    },
  };
}
