import { randomUUID } from "node:crypto";
import type { NextFunction, Request, Response } from "express";
import type { Logger } from "pino";
import type { Clock } from "../core/clock.ts";
import type { Tracing } from "../core/tracing.ts";

/** What is known of a request while it is answered; kept in `response.locals`. */
export interface RequestState {
  readonly requestId: string;
  readonly log: Logger;
  /** The pattern of the route that took it, e.g. `/api/messages/:messageId`: the raw path may hold a phone number. */
  route?: string;
  /** The code of the problem that was answered. */
  problem?: string;
  /** The methods of routes that fit the path but not the method. */
  allowed?: Set<string>;
  /** The gate before `/api` has seen a valid secret. */
  authenticated?: boolean;
  /** The answer has no end of its own: that its reader leaves is the usual one. */
  streaming?: boolean;
  isStopping: () => boolean;
}

export function stateOf(response: Response): RequestState {
  return response.locals as RequestState;
}

/** Asked every few seconds by whoever watches the container. */
const PROBES = new Set(["/health", "/ready"]);
const REQUEST_ID = /^[A-Za-z0-9._-]{1,128}$/;
/** For JSON: a browser that opens an answer runs, loads and frames nothing. */
const API_CSP = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

export interface ContextOptions {
  log: Logger;
  tracing: Pick<Tracing, "request">;
  clock: Clock;
  isStopping: () => boolean;
}

/** The first of all handlers: request id, security headers, and one log line when the answer is out. */
export function requestContext({ log, tracing, clock, isStopping }: ContextOptions) {
  return (request: Request, response: Response, next: NextFunction): void => {
    const startedAt = clock.monotonic();
    const given = request.headers["x-request-id"];
    const requestId = typeof given === "string" && REQUEST_ID.test(given) ? given : randomUUID();
    const state = new State(requestId, log, isStopping);
    response.locals = state;

    response.setHeader("X-Request-Id", requestId);
    response.setHeader("X-Content-Type-Options", "nosniff");
    response.setHeader("Referrer-Policy", "no-referrer");
    response.setHeader("X-Frame-Options", "DENY");
    response.setHeader("Content-Security-Policy", API_CSP);
    if (request.path.startsWith("/api")) response.setHeader("Cache-Control", "no-store");
    if (isStopping()) response.setHeader("Connection", "close");

    const span = tracing.request(request.headers, next);
    response.on("close", () => {
      const { route = "unmatched", problem } = state;
      span.end({ method: request.method, route, status: response.writableFinished ? response.statusCode : 0 });
      const line = {
        requestId,
        method: request.method,
        route,
        status: response.statusCode,
        durationMs: Math.round((clock.monotonic() - startedAt) * 10) / 10,
        ...(problem === undefined ? {} : { problem }),
      };
      if (!response.writableFinished && !state.streaming)
        log.info({ ...line, status: 0 }, "caller went away before the answer");
      else if (PROBES.has(route)) log.debug(line, "request");
      else log.info(line, "request");
    });
  };
}

class State implements RequestState {
  readonly requestId: string;
  readonly isStopping: () => boolean;
  declare route?: string;
  declare problem?: string;
  declare allowed?: Set<string>;
  declare authenticated?: boolean;
  declare streaming?: boolean;
  readonly #parent: Logger;
  #log: Logger | undefined;

  constructor(requestId: string, parent: Logger, isStopping: () => boolean) {
    this.requestId = requestId;
    this.isStopping = isStopping;
    this.#parent = parent;
  }

  /** Made when it is asked for: most requests log nothing beside their line, and a logger costs more than that. */
  get log(): Logger {
    return (this.#log ??= this.#parent.child({ requestId: this.requestId }));
  }
}
