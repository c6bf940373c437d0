// One of the programs, with an engine of its own.

import { fileURLToPath } from "node:url";
import { startEngine, startExample } from "../../harness.mjs";

const START = fileURLToPath(new URL("../dist/start.js", import.meta.url));

/** Gives the address of the engine, and that of the program with what kills and restarts it. The test's end ends both. */
export async function program(t, name) {
  const engine = await startEngine(t);
  return { engine, ...(await startExample(t, engine, process.execPath, [START, name])) };
}

export const json = async (response) => (await response).json();
