import type { Request, Response } from "express";
import type { ProblemError } from "../core/problem.ts";
import { hasBody } from "./body.ts";
import { stateOf } from "./context.ts";

/** A body that is still under way is let run out up to here, so that its sender reads the answer. */
const DISCARD_MAX_BYTES = 256 * 1024 * 1024;
const DISCARD_MAX_MS = 5_000;
/** Smaller ones Node reads to the end by itself, and the connection lives on. */
const DISCARD_QUIETLY_BYTES = 64 * 1024;

/** Writes an answer: JSON, or as it is when `headers` name a Content-Type and the body is text or bytes. */
export function send(response: Response, status: number, body: unknown, headers: Record<string, string> = {}): void {
  if (prepare(response, status, headers)) response.end(payloadOf(response, body));
}

/** Begins an answer that goes on until `write`, or whoever reads it, ends it. */
export function stream(
  request: Request,
  response: Response,
  status: number,
  headers: Record<string, string> = {},
  write: (response: Response) => void,
): void {
  if (!prepare(response, status, headers)) return;
  stateOf(response).streaming = true;
  if (request.method === "HEAD") return void response.end();
  response.flushHeaders();
  write(response);
}

/** Writes a problem (RFC 9457), also when the request's body has not been read. */
export function sendProblem(request: Request, response: Response, problem: ProblemError): void {
  const state = stateOf(response);
  state.problem = problem.code;
  const body = {
    type: `/docs#problem-${problem.code}`,
    title: problem.title,
    status: problem.status,
    detail: problem.message,
    code: problem.code,
    requestId: state.requestId,
    ...(problem.errors === undefined ? {} : { errors: problem.errors }),
  };
  const headers = { ...problem.headers, "Content-Type": "application/problem+json; charset=utf-8" };
  if (!prepare(response, problem.status, headers)) return;
  if (request.complete || !isLongBody(request)) {
    response.end(payloadOf(response, JSON.stringify(body)));
    return;
  }
  // Closing a socket that has unread bytes resets it, and the caller may lose the answer: write, run dry, then close.
  response.setHeader("Connection", "close");
  const payload = payloadOf(response, JSON.stringify(body));
  if (request.method === "HEAD") response.flushHeaders();
  else response.write(payload);
  discard(request, () => response.end());
}

function isLongBody(request: Request): boolean {
  if (!hasBody(request)) return false;
  const length = request.headers["content-length"];
  return length === undefined || Number(length) > DISCARD_QUIETLY_BYTES;
}

function discard(request: Request, done: () => void): void {
  let bytes = 0;
  const finish = (): void => {
    clearTimeout(timer);
    request.off("data", onData).off("end", finish).off("close", finish).off("error", finish);
    done();
  };
  const onData = (chunk: Buffer): void => {
    bytes += chunk.length;
    if (bytes > DISCARD_MAX_BYTES) finish();
  };
  const timer = setTimeout(finish, DISCARD_MAX_MS);
  timer.unref();
  request.on("data", onData).on("end", finish).on("close", finish).on("error", finish);
  request.resume();
}

/** `false` when nobody is left to answer, or an answer is already out. */
function prepare(response: Response, status: number, headers: Record<string, string>): boolean {
  if (response.headersSent || response.destroyed) return false;
  response.statusCode = status;
  for (const name in headers) response.setHeader(name, headers[name]!);
  if (stateOf(response).isStopping()) response.setHeader("Connection", "close");
  return true;
}

function payloadOf(response: Response, body: unknown): string | Buffer {
  if (body === undefined || response.statusCode === 204) return "";
  const asItIs = response.hasHeader("Content-Type") && (typeof body === "string" || Buffer.isBuffer(body));
  const payload = asItIs ? body : JSON.stringify(body);
  if (!asItIs) response.setHeader("Content-Type", "application/json; charset=utf-8");
  response.setHeader("Content-Length", Buffer.byteLength(payload));
  return payload;
}
