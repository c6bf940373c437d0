// The engine under test, and what its API tells.

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { eventually, freePort, Program, temporaryFolder } from "./program.mjs";

/** Built by `cargo build -p onward-server`, or named by ONWARD_BIN. */
export const binary = process.env.ONWARD_BIN ?? fileURLToPath(new URL("../../../target/debug/onward", import.meta.url));

export const SIGNING_KEY = `signkey-test-${"ab".repeat(32)}`;
export const OTHER_SIGNING_KEY = `signkey-test-${"cd".repeat(32)}`;
export const EVENT_KEY = "event-key-1";

/** Flags for tests that kill: runs are taken up soon, and an endpoint that is down again and again is still waited for. */
export const underKills = ["--first-request-lease", "2s", "--unreachable-for", "10m"];

/** The environment of a child: this one's, without what would configure an engine or the SDK. */
export function environment(more = {}) {
  const kept = Object.entries(process.env).filter(([name]) => !/^(INNGEST|ONWARD)_/.test(name));
  return { ...Object.fromEntries(kept), ...more };
}

export class Engine extends Program {
  /** `onward dev`. */
  static dev(options = {}) {
    return Engine.#open("dev", ["--retry-interval", options.retryInterval ?? "1s"], options);
  }

  /** `onward start`, with keys. */
  static cloud({ signingKeys = [SIGNING_KEY], eventKey = EVENT_KEY, allowPrivate = true, origins = ["*"], ...options } = {}) {
    const keys = signingKeys.flatMap((key) => ["--signing-key", key]);
    const allowed = origins.flatMap((origin) => ["--allow-origin", origin]);
    const more = [...(eventKey ? ["--event-key", eventKey] : []), ...(allowPrivate ? ["--allow-private"] : [])];
    const flags = [...keys, ...allowed, ...more, "--retry-interval", "1s"];
    return Engine.#open("start", flags, { signingKey: signingKeys[0], eventKey, ...options });
  }

  static async #open(mode, flags, { store, port, env, flags: more = [], signingKey, eventKey } = {}) {
    const cwd = temporaryFolder();
    port ??= await freePort();
    store ??= `sqlite:${join(cwd, "engine.db")}`;
    const command = [binary, mode, "--host", "127.0.0.1", "--port", `${port}`, "--store", store, ...flags, ...more];
    const url = `http://127.0.0.1:${port}`;
    const ready = () =>
      eventually("the engine is ready", async () => (await fetch(`${url}/health`)).ok, { within: 20_000 });
    const engine = new Engine("the engine", command, { cwd, env: environment(env), ready });
    Object.assign(engine, { url, store, cwd, signingKey, eventKey: eventKey ?? "NO_EVENT_KEY_SET" });
    return engine.start();
  }

  /** A call of the API by an operator or an SDK. */
  call(path, init = {}) {
    const authorization = `Bearer ${this.signingKey ?? ""}`.trim();
    return fetch(this.url + path, { ...init, headers: { authorization, ...init.headers } });
  }

  post(path, body, headers = {}) {
    const text = typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body);
    return this.call(path, { method: "POST", body: text, headers: { "content-type": "application/json", ...headers } });
  }

  /** What the operator's API tells of a run. Undefined: it has none of that id. */
  async run(id) {
    const response = await this.call(`/v1/runs/${id}`);
    if (response.status === 404) return undefined;
    if (!response.ok) throw new Error(`GET /v1/runs/${id}: ${response.status} ${await response.text()}`);
    return (await response.json()).data;
  }

  /** A run once it has ended. */
  ended(id, within = 20_000) {
    return eventually(
      `the run ${id} ends`,
      async () => {
        const run = await this.run(id);
        return run && run.status !== "Running" && run;
      },
      { within },
    );
  }

  /** What its log tells of the runs that an error names, and its last lines. */
  blame(error) {
    const runs = new Set(error.message.match(/\b01[0-9A-Z]{24}\b/g));
    const own = this.output.split("\n").filter((line) => [...runs].some((id) => line.includes(id)));
    error.message += `\nthe engine wrote:\n${own.join("\n")}\n…\n${this.output.slice(-2_000)}`;
    return error;
  }

  /** Sends an event from outside, and gives its id. */
  async send(name, data = {}, more = {}) {
    const response = await this.post(`/e/${this.eventKey}`, { name, data, ...more });
    const answer = await response.json();
    if (response.status !== 200) throw new Error(`an event was refused: ${JSON.stringify(answer)}`);
    return answer.ids[0];
  }
}
