// One of the programs, with an engine of its own.

import { fileURLToPath } from "node:url";
import { startEngine, startExample } from "../../harness.mjs";

const START = fileURLToPath(new URL("../dist/start.js", import.meta.url));

/** Gives the addresses of the program and of its engine. The test's end ends both. */
export async function program(t, name) {
  const engine = await startEngine(t);
  return { engine, url: await startExample(t, engine, process.execPath, [START, name]) };
}

export const json = async (response) => (await response).json();
