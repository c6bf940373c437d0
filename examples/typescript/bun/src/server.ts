// `npm start`: the endpoints, and what belongs to them, on Bun's own server.

import { approve, publish } from "./approval.js";
import { inngest } from "./client.js";
import { process } from "./process.js";
import { countDown } from "./stream.js";

const server = Bun.serve({
  port: Bun.env.PORT ?? "3000",
  // Bun drops connections that are quiet for 10 seconds, and who is at /wait may be quiet for longer.
  idleTimeout: 255,
  routes: {
    "/process": process,
    "/publish": publish,
    "/approve": approve,
    "/stream": countDown,
    "/wait": inngest.endpointProxy(),
  },
});

console.log(`listens on ${server.url.origin}`);
