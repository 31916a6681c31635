import type { NextFunction, Request, Response } from "express";
import { UnavailableError } from "../core/errors.ts";
import { ProblemError } from "../core/problem.ts";
import { RequestAborted } from "./body.ts";
import { stateOf } from "./context.ts";
import { httpProblem } from "./problems.ts";
import { sendProblem } from "./respond.ts";

const RETRY_AFTER_SECONDS = "5";

/** Answers whatever a handler threw. The only place that turns errors into HTTP statuses. Never throws. */
export function answerError(error: unknown, request: Request, response: Response): void {
  try {
    answer(error, request, response);
  } catch (cause) {
    stateOf(response).log.error({ err: cause }, "an error could not be answered");
    response.destroy();
  }
}

function answer(error: unknown, request: Request, response: Response): void {
  const { log, route } = stateOf(response);
  if (error instanceof RequestAborted || response.destroyed) {
    // The access log tells that the caller left; a fault of ours is still worth a line.
    if (!(error instanceof RequestAborted || error instanceof ProblemError))
      log.error({ err: error, route }, "request failed");
    return;
  }
  if (response.headersSent) {
    log.error({ err: error, route }, "request failed after its answer had begun");
    response.destroy();
    return;
  }
  const problem = problemOf(error);
  if (problem.code === "internal_error") log.error({ err: error, route }, "request failed");
  else if (problem.status >= 500) log.warn({ err: error, route }, "request could not be served");
  sendProblem(request, response, problem);
}

function problemOf(error: unknown): ProblemError {
  if (error instanceof ProblemError) return error;
  if (error instanceof UnavailableError) return unavailable(error);
  // What Express itself and the body parser of Bull Board throw: `status` says that it is the caller's fault.
  const status = statusOf(error);
  if (status === 400) return httpProblem("malformed_request", "The path or the body cannot be decoded.");
  if (status === 413) return httpProblem("body_too_large", "The body is larger than what is allowed here.");
  if (status === 415)
    return httpProblem("unsupported_media_type", "The body's encoding or character set is not supported.");
  return httpProblem("internal_error", "The request failed for a reason of ours. The log has it under this requestId.");
}

function unavailable({ dependency }: UnavailableError): ProblemError {
  const headers = { "Retry-After": RETRY_AFTER_SECONDS };
  return dependency === "database"
    ? httpProblem("database_unavailable", "The database does not answer right now. Send the request again later.", {
        headers,
      })
    : httpProblem("redis_unavailable", "The job queue does not answer right now. Send the request again later.", {
        headers,
      });
}

function statusOf(error: unknown): unknown {
  return error instanceof Error && "status" in error ? error.status : undefined;
}

/** For errors that come through Express: a path that cannot be decoded, Bull Board, the gates. */
export function errorHandler(error: unknown, request: Request, response: Response, _next: NextFunction): void {
  answerError(error, request, response);
}
