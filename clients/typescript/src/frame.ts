// The frames of a run's stream, and how events become them.

import { ProtocolError } from "./error.js";
import { isRecord, isStringRecord } from "./json.js";
import type { SseEvent } from "./sse.js";

interface FrameBase {
  /** The frame's id: what `Last-Event-ID` resumes after; null where the server gives no ids. */
  readonly id: string | null;
}

/** Names the run. Always the first frame. */
export interface MetadataFrame extends FrameBase {
  readonly type: "metadata";
  readonly runId: string;
}

/** A chunk that the endpoint streamed. It is provisional until its step is committed. */
export interface ChunkFrame extends FrameBase {
  readonly type: "stream";
  readonly data: unknown;
  /** The step that streamed it; null outside of steps. */
  readonly hashedStepId: string | null;
}

/** A step succeeded: its chunks are permanent. */
export interface CommitFrame extends FrameBase {
  readonly type: "commit";
  readonly hashedStepId: string | null;
}

/** An attempt of a step failed: its chunks no longer count. */
export interface RollbackFrame extends FrameBase {
  readonly type: "rollback";
  readonly hashedStepId: string | null;
}

/** Says where the stream goes on if this connection ends. */
export interface RedirectFrame extends FrameBase {
  readonly type: "redirect_info";
  readonly runId: string;
  /** The run's waiting URL. Frames from a stream have it resolved against the URL that answered. */
  readonly url: string;
}

/** An HTTP response inside a frame. */
export interface ResponseContent {
  /** The body: text, or bytes in base64 where `bodyEncoding` says so. */
  readonly body: string;
  readonly bodyEncoding?: "base64";
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Headers that occur more than once, such as `set-cookie`; they take the place of those in `headers`. */
  readonly headerPairs?: readonly (readonly [string, string])[];
}

/** How the run ended. Always the last frame. */
export interface ResponseFrame extends FrameBase {
  readonly type: "response";
  readonly status: "succeeded" | "failed";
  readonly response: ResponseContent;
}

/** One frame of a run's stream. */
export type Frame = MetadataFrame | ChunkFrame | CommitFrame | RollbackFrame | RedirectFrame | ResponseFrame;

/**
 * Reads an event as a frame.
 *
 * Gives null for events with other names, which a client skips.
 * Throws {@link ProtocolError} for a known name whose data is not JSON of the frame's shape.
 */
export function parseFrame(event: SseEvent): Frame | null {
  const read = READERS.get(event.event);
  if (!read) return null;
  let data: unknown;
  try {
    data = JSON.parse(event.data);
  } catch (error) {
    throw new ProtocolError(`the data of an ${event.event} frame is not JSON`, { cause: error });
  }
  const frame = isRecord(data) ? read(data, event.id === "" ? null : event.id) : null;
  if (!frame) throw new ProtocolError(`the data of an ${event.event} frame has not the frame's shape`);
  return frame;
}

/**
 * The message of a run that failed: its body is a JSON string.
 *
 * A body of another kind is given as it is.
 */
export function failureMessage(response: ResponseContent): string {
  try {
    const body: unknown = JSON.parse(response.body);
    return typeof body === "string" ? body : response.body;
  } catch {
    return response.body;
  }
}

// ===== Readers, one a frame; null says that the shape is wrong =====

type Reader = (data: Record<string, unknown>, id: string | null) => Frame | null;

const READERS: ReadonlyMap<string, Reader> = new Map<string, Reader>([
  ["inngest.metadata", ({ runId }, id) => (typeof runId === "string" ? { type: "metadata", id, runId } : null)],
  [
    "inngest.stream",
    (data, id) => {
      const step = data["hashedStepId"] ?? null;
      return isStepId(step) ? { type: "stream", id, data: data["data"] ?? null, hashedStepId: step } : null;
    },
  ],
  ["inngest.commit", ({ hashedStepId }, id) => (isStepId(hashedStepId) ? { type: "commit", id, hashedStepId } : null)],
  [
    "inngest.rollback",
    ({ hashedStepId }, id) => (isStepId(hashedStepId) ? { type: "rollback", id, hashedStepId } : null),
  ],
  [
    "inngest.redirect_info",
    ({ runId, url }, id) =>
      typeof runId === "string" && typeof url === "string" && url !== ""
        ? { type: "redirect_info", id, runId, url }
        : null,
  ],
  [
    "inngest.response",
    ({ status, response }, id) =>
      (status === "succeeded" || status === "failed") && isContent(response)
        ? { type: "response", id, status, response }
        : null,
  ],
]);

function isStepId(value: unknown): value is string | null {
  return value === null || typeof value === "string";
}

function isContent(value: unknown): value is ResponseContent {
  if (!isRecord(value)) return false;
  const { body, bodyEncoding, statusCode, headers, headerPairs } = value;
  return (
    typeof body === "string" &&
    (bodyEncoding === undefined || bodyEncoding === "base64") &&
    Number.isInteger(statusCode) &&
    isStringRecord(headers) &&
    (headerPairs === undefined || (Array.isArray(headerPairs) && headerPairs.every(isPair)))
  );
}

function isPair(value: unknown): value is readonly [string, string] {
  return Array.isArray(value) && value.length === 2 && value.every((part) => typeof part === "string");
}
