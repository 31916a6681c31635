/** One thing that is wrong with a request. */
export interface Fault {
  /** JSON pointer (RFC 6901) into the body, `/query/<name>`, `/path/<name>` or `/header/<name>`. */
  pointer: string;
  /** What is wrong and what would be right, in words. */
  detail: string;
}

export interface ProblemFields {
  status: number;
  /** Stable and machine readable, e.g. `unknown_account`. */
  code: string;
  title: string;
  /** What happened, what it means, what to do. */
  detail: string;
  errors?: Fault[];
  headers?: Record<string, string>;
}

/** An answer that is not the wished-for one: thrown by handlers, written as `application/problem+json` (RFC 9457). */
export class ProblemError extends Error {
  override readonly name = "ProblemError";
  readonly status: number;
  readonly code: string;
  readonly title: string;
  readonly errors: Fault[] | undefined;
  readonly headers: Record<string, string>;

  constructor({ status, code, title, detail, errors, headers = {} }: ProblemFields) {
    super(detail);
    this.status = status;
    this.code = code;
    this.title = title;
    this.errors = errors;
    this.headers = headers;
  }
}

/** 400 with every fault of the request. */
export function invalidRequest(errors: Fault[]): ProblemError {
  return new ProblemError({
    status: 400,
    code: "invalid_request",
    title: "The request is not valid",
    detail: `${errors.length === 1 ? "1 fault was" : `${errors.length} faults were`} found; nothing was done. Mend what "errors" lists and send it again.`,
    errors,
  });
}

/** 404 for a thing that was looked up by its id. `hint`: a sentence on where else to look. */
export function notFound(what: string, id: string, hint?: string): ProblemError {
  return new ProblemError({
    status: 404,
    code: "not_found",
    title: "Not found",
    detail: [`There is no ${what} "${id.slice(0, 100)}".`, hint].filter(Boolean).join(" "),
  });
}
