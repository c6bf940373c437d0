// Calls of endpoints as clients make them.

/**
 * A run that became asynchronous, as its client was told of it.
 * @typedef {{ runId: string, token: string, url: string }} Started
 */

/** Calls an endpoint and follows no redirect. @returns {Promise<Response>} */
export const call = (url, init) => fetch(url, { redirect: "manual", ...init });

/** Calls an endpoint that redirects to the engine. @returns {Promise<Started>} */
export async function start(url, init) {
  const response = await call(url, init);
  const location = response.headers.get("location");
  if (response.status !== 302) throw new Error(`${url} answered ${response.status}: ${await response.text()}`);
  const { pathname, searchParams } = new URL(location);
  return { runId: pathname.split("/").at(-2), token: searchParams.get("token"), url: location };
}

/** Asks for a run's outcome: the status, headers and body as they are. No run of this suite takes a minute. */
export async function output(url, init) {
  const response = await fetch(url, { signal: AbortSignal.timeout(60_000), ...init });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, json: () => JSON.parse(text) };
}

/** The value that a run ended with. A `Response` of its handler comes as a JSON string of its body. */
export async function value(url) {
  const { status, text } = await output(url);
  if (status !== 200) throw new Error(`the output is ${status}: ${text}`);
  const parsed = JSON.parse(text);
  return typeof parsed === "string" && /^[[{]/.test(parsed) ? JSON.parse(parsed) : parsed;
}

/** Starts a run and waits for its value. */
export const result = async (url, init) => value((await start(url, init)).url);
