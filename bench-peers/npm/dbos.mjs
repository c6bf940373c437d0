// A DBOS workflow of three steps behind an HTTP route: PORT and DATABASE_URL say where.

import { createServer } from "node:http";
import { DBOS } from "@dbos-inc/dbos-sdk";
import pg from "pg";

/** About 150 bytes, as in the project's own benchmarks. */
const output = async () => ({ id: 4_200_042, status: "accepted", note: "x".repeat(100) });

const workflow = DBOS.registerWorkflow(
  async () => {
    for (const name of ["step-1", "step-2", "step-3"]) await DBOS.runStep(output, { name });
    return { steps: 3 };
  },
  { name: "steps" },
);

/** What the database promises of a commit, in its own words. */
async function durability() {
  const client = new pg.Client({ connectionString: process.env.DATABASE_URL });
  await client.connect();
  const names = ["server_version", "fsync", "synchronous_commit", "wal_sync_method"];
  const { rows } = await client.query("SELECT name, setting FROM pg_settings WHERE name = ANY($1)", [names]);
  await client.end();
  return Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
}

DBOS.setConfig({ name: "bench", systemDatabaseUrl: process.env.DATABASE_URL, logLevel: "error" });
await DBOS.launch();

createServer(async (request, response) => {
  try {
    const body = request.url === "/durability" ? await durability() : await workflow();
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
  } catch (error) {
    console.error(error);
    response.writeHead(500).end(String(error));
  }
}).listen(Number(process.env.PORT), "127.0.0.1");
