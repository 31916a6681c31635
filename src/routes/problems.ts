import { ProblemError } from "../core/problem.ts";
import type { Fault } from "../core/problem.ts";

interface KnownProblem {
  status: number;
  title: string;
  /** For the reader of the documentation: when it comes and what to do. */
  meaning: string;
}

/** Every problem that the HTTP layer itself answers with. Documented at `/docs#problem-<code>`. */
export const HTTP_PROBLEMS = {
  invalid_request: {
    status: 400,
    title: "The request is not valid",
    meaning: "`errors` lists every fault with a JSON pointer. Nothing was done: mend them all and send it again.",
  },
  malformed_json: {
    status: 400,
    title: "The body is not valid JSON",
    meaning: "`detail` says at which line and column the JSON breaks.",
  },
  malformed_request: {
    status: 400,
    title: "The request cannot be read",
    meaning: "The path's percent-encoding or the body's Content-Encoding is broken.",
  },
  unauthorized: {
    status: 401,
    title: "An API secret is wanted",
    meaning: "Send `Authorization: Bearer <API secret>`. A token in the query is not looked at.",
  },
  login_required: {
    status: 401,
    title: "Log in first",
    meaning: "The operator's pages want the session that /admin/login gives.",
  },
  cross_site_request: {
    status: 403,
    title: "Refused: sent from another site",
    meaning: "The operator's pages accept changes only from themselves.",
  },
  refused_here: {
    status: 403,
    title: "Not allowed in Bull Board",
    meaning:
      "It could send a message twice. Queues may be paused and resumed there; retry over the API, which first makes sure that the message did not leave.",
  },
  not_found: {
    status: 404,
    title: "Not found",
    meaning: "There is nothing with that id. `detail` says what was looked for.",
  },
  unknown_route: { status: 404, title: "No such path", meaning: "Look at /docs for the paths that exist." },
  method_not_allowed: {
    status: 405,
    title: "Method not allowed",
    meaning: "The `Allow` header lists the path's methods.",
  },
  body_too_large: {
    status: 413,
    title: "The body is too large",
    meaning: "`detail` names the limit, which counts bytes after decompression. Split the request.",
  },
  unsupported_media_type: {
    status: 415,
    title: "Unsupported media type",
    meaning:
      "Send JSON in UTF-8 as `Content-Type: application/json`, or a file where one is taken, as one of the types of the " +
      "`Accept` header; plain or as gzip, deflate or br.",
  },
  too_many_attempts: {
    status: 429,
    title: "Too many attempts",
    meaning: "Logging in is limited. Wait for as many seconds as `Retry-After` says.",
  },
  internal_error: {
    status: 500,
    title: "Something went wrong on our side",
    meaning: "The log has it under the `requestId`. With an `Idempotency-Key` the request may be sent again.",
  },
  stopping: {
    status: 503,
    title: "The service is stopping",
    meaning: "Nothing was done. Send it again after `Retry-After` seconds: another process answers then.",
  },
  database_unavailable: {
    status: 503,
    title: "The database does not answer",
    meaning:
      "Nothing is wrong with the request. Send it again after `Retry-After` seconds, with its `Idempotency-Key`.",
  },
  redis_unavailable: {
    status: 503,
    title: "The job queue does not answer",
    meaning:
      "Nothing is wrong with the request. Send it again after `Retry-After` seconds, with its `Idempotency-Key`.",
  },
} as const satisfies Record<string, KnownProblem>;

export type HttpProblemCode = keyof typeof HTTP_PROBLEMS;

/** A `ProblemError` for one of `HTTP_PROBLEMS`. */
export function httpProblem(
  code: HttpProblemCode,
  detail: string,
  extra: { headers?: Record<string, string>; errors?: Fault[] } = {},
): ProblemError {
  const { status, title } = HTTP_PROBLEMS[code];
  return new ProblemError({ status, code, title, detail, ...extra });
}
