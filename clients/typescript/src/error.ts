// What a stream can fail with, besides the caller's abort and an HTTP problem.

/** The server sent something that the protocol does not allow. Trying again would not help. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}

/** What is known of a run whose stream was lost: enough to read it again later. */
export interface LostRun {
  /** The run, if its metadata had come. */
  readonly runId: string | null;
  /** Where the run can be read (see `attach`), if the server had said so. */
  readonly waitingUrl: string | null;
  /** The id of the last frame that was seen, if frames had ids. */
  readonly lastEventId: string | null;
}

/**
 * The connection was lost before the run's response, and could not be resumed.
 *
 * The run itself goes on. `cause` is what broke the connection.
 */
export class ConnectionLostError extends Error implements LostRun {
  override readonly name = "ConnectionLostError";
  readonly runId: string | null;
  readonly waitingUrl: string | null;
  readonly lastEventId: string | null;

  constructor(message: string, run: LostRun, cause: unknown) {
    super(message, { cause });
    this.runId = run.runId;
    this.waitingUrl = run.waitingUrl;
    this.lastEventId = run.lastEventId;
  }
}
