// The client of Onward's durable endpoints.

export { type FetchWithStreamOptions, fetchWithStream } from "./client.js";
export { ConnectionLostError, type LostRun, ProtocolError } from "./error.js";
export {
  type ChunkFrame,
  type CommitFrame,
  type Frame,
  type MetadataFrame,
  type RedirectFrame,
  type ResponseContent,
  type ResponseFrame,
  type RollbackFrame,
  failureMessage,
  parseFrame,
} from "./frame.js";
export type { Fetch, Reconnecting, ResumeOptions, StreamOptions } from "./options.js";
export { ProblemError } from "./problem.js";
export { toResponse } from "./response.js";
export { type SseEvent, SseParser } from "./sse.js";
export { type Chunk, type StreamState, applyFrame, emptyState } from "./state.js";
export { streamFrames } from "./stream.js";
