// What the examples' tests share: the engine and an example as processes on free ports, ended by their ids.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const ENGINE = process.env.ONWARD_BIN ?? fileURLToPath(new URL("../../target/debug/onward", import.meta.url));

const READY_MS = 30_000;

/** Starts an engine that forgets everything at its end; the test's end is its end. Gives its address. */
export async function startEngine(t) {
  const port = await freePort();
  const url = `http://localhost:${port}`;
  const args = ["dev", "--port", port, "--retry-interval", "1s", "--store", "memory:"];
  const child = start(t, ENGINE, args.map(String), {});
  await answers(child, url, () => isHealthy(url));
  return url;
}

/**
 * Starts an example as a process with `PORT` and `INNGEST_DEV` in its environment.
 * Gives its address, and what kills it at once and starts it again.
 */
export async function startExample(t, engine, command, args, options = {}) {
  const port = await freePort();
  const env = { ...process.env, PORT: String(port), INNGEST_DEV: engine };
  const url = `http://localhost:${port}`;
  const begin = async () => {
    const child = start(t, command, args, { ...options, env });
    await answers(child, url, () => connects(port));
    return child;
  };
  let child = await begin();
  const kill = () => stop(child, "SIGKILL");
  const restart = async () => void (child = await begin());
  return { url, kill, restart };
}

function start(t, command, args, options) {
  const child = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  child.said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (child.said += text));
  child.on("error", (error) => (child.said += error));
  t.after(() => stop(child));
  return child;
}

async function stop(child, signal = "SIGTERM") {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill(signal);
  const patience = setTimeout(() => child.kill("SIGKILL"), 1_000);
  await ended;
  clearTimeout(patience);
}

async function answers(child, url, isReady) {
  const last = Date.now() + READY_MS;
  while (Date.now() < last && child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
    if (await isReady()) return;
    await sleep(50);
  }
  throw new Error(`${child.spawnfile} does not answer at ${url}: ${child.said}`);
}

async function isHealthy(url) {
  const response = await fetch(`${url}/health`).catch(() => null);
  await response?.body?.cancel();
  return response?.status === 200;
}

/** Not a request: any path may be a durable endpoint, and begin a run. */
function connects(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "localhost");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

async function freePort() {
  const server = createServer().listen(0);
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
