import { hash } from "node:crypto";
import { parse as parseQuery } from "node:querystring";
import type { NextFunction, Request, Response } from "express";
import { ProblemError, invalidRequest } from "../core/problem.ts";
import type { Fault } from "../core/problem.ts";
import type { Idempotency, RawBody, Route } from "../core/route.ts";
import { createSecretCheck, eitherOf, requireBearer } from "./auth.ts";
import type { SecretCheck } from "./auth.ts";
import { hasBody, readBody } from "./body.ts";
import { stateOf } from "./context.ts";
import { answerError } from "./error-mapper.ts";
import { readLines } from "./lines.ts";
import { check, pointerOf } from "../core/faults.ts";
import { isJsonType, parseJson } from "./json.ts";
import { httpProblem } from "./problems.ts";
import { send, stream } from "./respond.ts";

export interface DispatchOptions {
  secrets: SecretCheck;
  maxBodyBytes: number;
}

/** All names of one format; the first is the one that is documented. */
const NDJSON = ["application/x-ndjson", "application/ndjson", "application/jsonl"];
const EMPTY = Buffer.alloc(0);
const PRINTABLE = /^[\x20-\x7e]{1,255}$/;
const MISSING_BYTES = "the body is missing: send the file's bytes, with its Content-Type";
const MISSING_BODY = "the body is missing: send a JSON body with Content-Type: application/json";

/**
 * One handler for all routes of one path. A method that none of them has is left to the next path that fits, with a
 * note in the request's state of which there are.
 */
export function dispatch(path: string, routes: readonly Route[], options: DispatchOptions) {
  const byMethod = new Map(routes.map((route) => [route.method.toUpperCase(), compile(route, options)]));
  const get = byMethod.get("GET");
  if (get !== undefined) byMethod.set("HEAD", get);

  return (request: Request, response: Response, next: NextFunction): void => {
    const state = stateOf(response);
    state.route = path;
    const run = byMethod.get(request.method);
    if (run === undefined) {
      state.allowed = new Set([...(state.allowed ?? []), ...byMethod.keys()]);
      next();
      return;
    }
    run(request, response).catch((error: unknown) => answerError(error, request, response));
  };
}

function compile(route: Route, { secrets, maxBodyBytes }: DispatchOptions) {
  const wantsBody = route.body !== undefined || route.parseBody !== undefined;
  const bodyOptional = route.parseBody === undefined && route.body?.safeParse(undefined).success === true;
  const opens = route.ownTokens?.length ? eitherOf(secrets, createSecretCheck(route.ownTokens)) : secrets;
  const knownQuery = new Set(Object.keys(route.query?.shape ?? {}));

  async function readBodyOf(request: Request): Promise<Buffer> {
    if (!hasBody(request) || route.method === "get") return EMPTY;
    if (route.rawBody !== undefined) {
      const { contentTypes, maxBytes } = route.rawBody;
      if (!contentTypes.includes(mediaTypeOf(request))) throw notOneOf(contentTypes);
      return readBody(request, Math.min(maxBytes, maxBodyBytes));
    }
    if (wantsBody && !isJsonType(request.headers["content-type"])) throw notJson(request, route);
    return readBody(request, maxBodyBytes);
  }

  async function bodyOf(request: Request, raw: Buffer, faults: Fault[]): Promise<unknown> {
    if (route.rawBody !== undefined) {
      if (raw.length === 0) faults.push({ pointer: "", detail: MISSING_BYTES });
      return { bytes: raw, contentType: mediaTypeOf(request) } satisfies RawBody;
    }
    if (!wantsBody) return undefined;
    if (raw.length === 0 && !bodyOptional) {
      faults.push({ pointer: "", detail: MISSING_BODY });
      return undefined;
    }
    const parsed = raw.length === 0 ? undefined : parseJson(raw);
    if (route.parseBody !== undefined) return collecting(faults, route.parseBody(parsed));
    return checked(route.body!, parsed, "", faults);
  }

  function queryOf(request: Request, faults: Fault[]): unknown {
    const start = request.originalUrl.indexOf("?");
    const given = start < 0 ? {} : parseQuery(request.originalUrl.slice(start + 1));
    // Whoever calls a public route (a probe, a vendor) may add to its address what we cannot foresee.
    if (start >= 0 && !route.public) faults.push(...unknownParameters(Object.keys(given), knownQuery));
    if (route.query === undefined) return undefined;
    // Unlike `querystring`'s, this object has a prototype: zod takes nothing else for an object's like.
    const known = Object.fromEntries(Object.entries(given).filter(([name]) => knownQuery.has(name)));
    return checked(route.query, known, "/query", faults);
  }

  async function runStream(request: Request, response: Response): Promise<void> {
    const { requestId, log } = stateOf(response);
    const faults: Fault[] = [];
    queryOf(request, faults);
    const keyed = route.idempotent ? idempotencyOf(route, request, EMPTY, faults) : undefined;
    if (faults.length > 0) throw invalidRequest(faults);
    const lines = readLines(request);
    const reply = await route.stream!.handle({
      params: undefined,
      query: undefined,
      body: lines,
      idempotency: () => keyed && { ...keyed, bodyHash: lines.digest() },
      headers: request.headers,
      url: request.originalUrl,
      requestId,
      log,
    });
    send(response, reply.status, reply.body, reply.headers);
  }

  return async (request: Request, response: Response): Promise<void> => {
    const state = stateOf(response);
    if (!route.public && !state.authenticated) requireBearer(opens, request.headers.authorization);
    if (route.stream && hasBody(request) && NDJSON.includes(mediaTypeOf(request))) return runStream(request, response);
    const raw = await readBodyOf(request);
    const faults: Fault[] = [];
    const params = route.params && checked(route.params, { ...request.params }, "/path", faults);
    const query = queryOf(request, faults);
    const idempotency = route.idempotent ? idempotencyOf(route, request, raw, faults) : undefined;
    const body = await bodyOf(request, raw, faults);
    if (faults.length > 0) throw invalidRequest(faults);
    const { headers, originalUrl: url } = request;
    const checkedRequest = {
      params,
      query,
      body,
      idempotency,
      headers,
      url,
      requestId: state.requestId,
      get log() {
        return state.log;
      },
    };
    const reply = await route.handle(checkedRequest as never);
    if (reply.sent) response.once("finish", reply.sent);
    if (reply.stream) stream(request, response, reply.status, reply.headers, reply.stream);
    else send(response, reply.status, reply.body, reply.headers);
  };
}

function checked(schema: Parameters<typeof check>[0], given: unknown, prefix: string, faults: Fault[]): unknown {
  const result = check(schema, given, prefix);
  for (const fault of result.faults) faults.push(fault);
  return result.value;
}

/** Lets the faults that a route's own check throws join those already found. */
async function collecting(faults: Fault[], checking: Promise<unknown>): Promise<unknown> {
  try {
    return await checking;
  } catch (error) {
    if (!(error instanceof ProblemError) || error.code !== "invalid_request" || faults.length === 0) throw error;
    for (const fault of error.errors ?? []) faults.push(fault);
    return undefined;
  }
}

function unknownParameters(given: readonly string[], known: ReadonlySet<string>): Fault[] {
  const detail =
    known.size === 0
      ? "is not a known parameter: this path takes none in the query"
      : `is not a known parameter; known are ${[...known].join(", ")}`;
  return given.filter((name) => !known.has(name)).map((name) => ({ pointer: pointerOf([name], "/query"), detail }));
}

/** The key counts for one path with its ids, so that retries of two jobs may carry the same key. */
function idempotencyOf(route: Route, request: Request, raw: Buffer, faults: Fault[]): Idempotency | undefined {
  const key = request.headers["idempotency-key"];
  if (key === undefined) return undefined;
  if (typeof key !== "string" || !PRINTABLE.test(key)) {
    faults.push({ pointer: "/header/Idempotency-Key", detail: "must be 1 to 255 printable ASCII characters" });
    return undefined;
  }
  const path = route.path.replaceAll(/:(\w+)/g, (_, name: string) => encodeURIComponent(String(request.params[name])));
  return { scope: `${route.method.toUpperCase()} ${path}`, key, bodyHash: hash("sha256", raw, "hex") };
}

/** In lower case, without parameters; empty when there is none. */
function mediaTypeOf(request: Request): string {
  return request.headers["content-type"]?.split(";", 1)[0]?.trim().toLowerCase() ?? "";
}

function notOneOf(contentTypes: readonly string[]): ProblemError {
  const accepted = contentTypes.join(", ");
  const detail = `The Content-Type is none of those that are read here: ${accepted}.`;
  return httpProblem("unsupported_media_type", detail, { headers: { Accept: accepted } });
}

function notJson(request: Request, { stream }: Route): ProblemError {
  const wrong =
    request.headers["content-type"] === undefined
      ? "The body has no Content-Type."
      : "The Content-Type is none of those that are read here.";
  const lines = stream ? `, or one JSON value a line as ${NDJSON[0]}` : "";
  return httpProblem("unsupported_media_type", `${wrong} Send JSON in UTF-8 as application/json${lines}.`, {
    headers: { Accept: ["application/json", ...(stream ? NDJSON : [])].join(", ") },
  });
}
