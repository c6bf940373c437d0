// Responses out of frames, and frames out of responses.

import { ProtocolError } from "./error.js";
import type { ResponseContent, ResponseFrame } from "./frame.js";

/** Statuses whose responses have no body; `Response` refuses one. */
const NULL_BODY = new Set([101, 204, 205, 304]);

/**
 * Makes the response that a response frame holds.
 *
 * Throws {@link ProtocolError} for a status, header or encoding that no response can have.
 */
export function toResponse(content: ResponseContent): Response {
  try {
    const headers = new Headers({ ...content.headers });
    const pairs = content.headerPairs ?? [];
    for (const [name] of pairs) headers.delete(name);
    for (const [name, value] of pairs) headers.append(name, value);
    return build(decodeBody(content), content.statusCode, "", headers);
  } catch (error) {
    throw new ProtocolError("the run's response is not one that HTTP allows", { cause: error });
  }
}

/** Makes a response of bytes that have been read. */
export function build(body: BodyInit, status: number, statusText: string, headers: Headers): Response {
  return new Response(NULL_BODY.has(status) ? null : body, { status, statusText, headers });
}

/**
 * Makes the response frame that stands for a plain HTTP response.
 *
 * The body is used up. Text stays text, other bytes become base64.
 */
export async function toResponseFrame(response: Response): Promise<ResponseFrame> {
  const bytes = new Uint8Array(await response.arrayBuffer());
  const pairs = [...response.headers];
  const content = { statusCode: response.status, headers: Object.fromEntries(pairs), headerPairs: pairs };
  const status = response.status < 500 ? "succeeded" : "failed";
  return { type: "response", id: null, status, response: { ...content, ...encodeBody(bytes) } };
}

// Why bytes even for text: given a string, `Response` would add a content type that the endpoint did not send.
function decodeBody(content: ResponseContent): Uint8Array<ArrayBuffer> {
  if (content.bodyEncoding === undefined) return new TextEncoder().encode(content.body);
  return Uint8Array.from(atob(content.body), (char) => char.charCodeAt(0));
}

function encodeBody(bytes: Uint8Array): Pick<ResponseContent, "body" | "bodyEncoding"> {
  try {
    return { body: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    let binary = "";
    for (const byte of bytes) binary += String.fromCharCode(byte);
    return { body: btoa(binary), bodyEncoding: "base64" };
  }
}
