// HTTP problems (RFC 9457, `application/problem+json`) as errors.

import { isRecord } from "./json.js";

/** An HTTP answer that says why a request was refused. */
export class ProblemError extends Error {
  override readonly name = "ProblemError";
  /** What went wrong: the last part of the problem's `type`, such as `token-invalid`; null where there is none. */
  readonly code: string | null;
  /** The HTTP status. */
  readonly status: number;
  /** What the problem is about, such as `/runs/01ABC…`; null where the answer does not say. */
  readonly instance: string | null;

  constructor(message: string, problem: { code: string | null; status: number; instance: string | null }) {
    super(message);
    this.code = problem.code;
    this.status = problem.status;
    this.instance = problem.instance;
  }

  /**
   * Reads a response that is an error into one, whether or not it is `application/problem+json`.
   *
   * The body is used up. One that cannot be read counts as empty.
   */
  static async fromResponse(response: Response): Promise<ProblemError> {
    const body = await readProblem(response);
    const title = text(body["title"]) ?? `${response.status} ${response.statusText}`.trim();
    const detail = text(body["detail"]);
    return new ProblemError(detail === null ? title : `${title}: ${detail}`, {
      code: codeOf(text(body["type"])),
      status: response.status,
      instance: text(body["instance"]),
    });
  }
}

async function readProblem(response: Response): Promise<Record<string, unknown>> {
  const type = response.headers.get("content-type") ?? "";
  if (!/^application\/problem\+json\s*(;|$)/i.test(type)) {
    response.body?.cancel().catch(() => undefined);
    return {};
  }
  try {
    const body: unknown = await response.json();
    return isRecord(body) ? body : {};
  } catch {
    return {};
  }
}

function text(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

/** `https://…/errors/run-gone.md` is `run-gone`. */
function codeOf(type: string | null): string | null {
  const match = /([^/#?:]+?)(?:\.md|\.html)?\/?(?:[#?].*)?$/.exec(type ?? "");
  return type === "about:blank" ? null : (match?.[1] ?? null);
}
