// The real program, as a process that a test starts, kills with -9 and starts again.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const BIN = process.env.ASSISTANT_BIN ?? fileURLToPath(new URL("../../../target/debug/assistant", import.meta.url));

export class Program {
  #directory;
  #address;
  #child = null;

  /** Starts the program on a free port and an empty directory; the test's end ends it. */
  static async start(t) {
    const program = new Program();
    program.#directory = await mkdtemp(join(tmpdir(), "assistant-"));
    program.#address = `127.0.0.1:${await freePort()}`;
    t.after(async () => {
      await program.kill();
      await rm(program.#directory, { recursive: true, force: true });
    });
    await program.start();
    return program;
  }

  get url() {
    return `http://${this.#address}/`;
  }

  /** Starts it again, on the same port and directory. */
  async start() {
    const child = spawn(BIN, [this.#address, this.#directory], { stdio: ["ignore", "pipe", "inherit"] });
    this.#child = child;
    await once(child, "spawn");
    let said = "";
    for await (const text of child.stdout.iterator({ destroyOnReturn: false })) {
      said += text;
      if (said.includes("listens on")) return void child.stdout.resume();
    }
    throw new Error(`the program ended: ${said}`);
  }

  /** SIGKILL: nothing of the program runs after it. */
  async kill() {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
