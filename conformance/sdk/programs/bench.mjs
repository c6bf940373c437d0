// What `cargo xtask bench engine` measures: one handler of three steps, plain, and durable on two engines.

import { createServer } from "node:http";
import { step } from "inngest";
import { serveEndpoint } from "inngest/node";
import { client } from "./kit.mjs";

/** About 150 bytes, as in the measured workload. */
const output = () => ({ id: 4_200_042, status: "accepted", note: "x".repeat(100) });

const handler = (run) => async () => {
  for (const id of ["step-1", "step-2", "step-3"]) await run(id, output);
  return Response.json({ steps: 3 });
};

const durable = (baseUrl) => client({}, { isDev: true, baseUrl }).endpoint(handler((id, body) => step.run(id, body)));

const routes = {
  "/plain": serveEndpoint(handler(async (_, body) => body())),
  "/fake": serveEndpoint(durable(process.env.FAKE)),
  "/engine": serveEndpoint(durable(process.env.ENGINE)),
};

createServer((request, response) => routes[request.url](request, response)).listen(Number(process.env.PORT), "127.0.0.1");
