// Servers in the test's own process that play what stands around endpoints.

import { createServer, request as send } from "node:http";

/**
 * A server of the test's own. What it was asked is kept.
 * @param {(request: { method: string, path: string, headers: Record<string, any>, body: string },
 *   response: import("node:http").ServerResponse) => unknown} answer
 */
export async function fakeServer(answer) {
  const requests = [];
  const server = createServer(async (incoming, response) => {
    const chunks = [];
    for await (const chunk of incoming) chunks.push(chunk);
    const { method, url, headers } = incoming;
    const request = { method, path: url, headers, body: Buffer.concat(chunks).toString(), at: Date.now() };
    requests.push(request);
    await answer(request, response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${server.address().port}`, requests, close };
}

/** An answer as JSON. */
export function json(response, body, status = 200, headers = {}) {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
}

/** A run's re-entries are answered by a script, one line a call; the last stays. The answers look like the SDK's. */
export function scripted(lines) {
  let calls = 0;
  return fakeServer((request, response) => {
    const line = lines[Math.min(calls, lines.length - 1)];
    calls += 1;
    const answer = typeof line === "function" ? line(request) : line;
    if (answer === "hang up") return response.destroy();
    const { status = 206, body, headers = {}, sdk = true } = answer;
    const genuine = sdk ? { "x-inngest-sdk": "inngest-js:v4.24.0", "x-inngest-req-version": "2" } : {};
    const text = typeof body === "string" ? body : JSON.stringify(body);
    response.writeHead(status, { "content-type": "application/json", ...genuine, ...headers }).end(text);
  });
}

/**
 * A gateway before an endpoint. `broken` says of a call of the engine whether it fails, and how.
 * @param {string} target
 * @param {(nth: number, request: import("node:http").IncomingMessage) =>
 *   { status: number, body: string, headers?: Record<string, string> } | "hang up" | undefined} broken
 */
export async function gateway(target, broken) {
  const { port } = new URL(target);
  const answers = [];
  let calls = 0;
  const server = createServer((incoming, response) => {
    const failure = incoming.headers["x-run-id"] ? broken((calls += 1), incoming) : undefined;
    if (failure === "hang up") return answers.push("hang up") && response.destroy();
    if (failure) {
      answers.push(failure.status);
      incoming.resume();
      return response.writeHead(failure.status, failure.headers ?? { "content-type": "text/html" }).end(failure.body);
    }
    const { method, url: path, headers } = incoming;
    const passed = send({ host: "127.0.0.1", port, method, path, headers }, (answer) => {
      answers.push(answer.statusCode);
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    passed.once("error", () => response.destroy());
    incoming.pipe(passed);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${server.address().port}`, answers, close };
}
