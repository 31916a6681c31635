import type { IncomingHttpHeaders, ServerResponse } from "node:http";
import type { Logger } from "pino";
import type { z } from "zod";

/** One documented answer of a route. */
export interface RouteResponse {
  description: string;
  schema?: z.ZodType;
  /** Default: JSON. */
  mediaType?: string;
  example?: unknown;
  /** Headers that tell something, by name, and what. */
  headers?: Record<string, string>;
  /** The problem codes that come with this status, and what each means. Documented at `/docs#problem-<code>`. */
  codes?: Record<string, string>;
}

/** What a caller sent with `Idempotency-Key`: the key, within its route, and a digest of the body. */
export interface Idempotency {
  scope: string;
  key: string;
  bodyHash: string;
}

export interface RouteRequest<Params, Query, Body> {
  params: Params;
  query: Query;
  body: Body;
  /** Present when the caller sent the header and the route is `idempotent`. */
  idempotency: Idempotency | undefined;
  headers: IncomingHttpHeaders;
  /** Path and query as they came, for signatures. */
  url: string;
  requestId: string;
  log: Logger;
}

/** What a route with `rawBody` gets instead of JSON. */
export interface RawBody {
  bytes: Buffer;
  /** One of the route's, in lower case and without parameters. */
  contentType: string;
}

export interface RawBodyRule {
  /** After decompression; the service's own limit holds as well. */
  maxBytes: number;
  /** The media types that are read; anything else is answered with 415 before it is read. */
  contentTypes: readonly string[];
  /** Of a body in text. */
  example?: string;
}

/** One line of a body in NDJSON, empty ones left out; counted from 1. */
export type Line = { no: number } & ({ value: unknown } | { fault: string });

export interface StreamRequest extends Omit<RouteRequest<undefined, undefined, AsyncIterable<Line>>, "idempotency"> {
  /** Once the body has been read. */
  idempotency(): Idempotency | undefined;
}

/** What a route also takes as `application/x-ndjson` (or `ndjson`, `jsonl`), read as it arrives. Its handler sees to what is wrong with the lines. */
export interface StreamRule {
  description: string;
  example: string;
  handle(request: StreamRequest): Promise<RouteReply>;
}

export interface RouteReply {
  status: number;
  /** Written as JSON; text or bytes go out as they are when `headers` have a `Content-Type`. */
  body: unknown;
  headers?: Record<string, string>;
  /** Called when all of it has been handed to the network; never for a caller who has gone. */
  sent?: () => void;
  /** In place of `body`: told when the head is out, it writes for as long as it likes. Not asked for a HEAD. */
  stream?(response: ServerResponse): void;
}

/**
 * One HTTP route, declared once: the Express router, the OpenAPI document and the tests are derived from it.
 * Answers that every route can give (401, 404 of the path, 413, 415, 500, 503) are not listed in `responses`.
 */
export interface Route {
  method: "get" | "post" | "put" | "patch" | "delete";
  /** In Express' form: `/api/messages/:messageId`. */
  path: string;
  tag: string;
  summary: string;
  description?: string;
  /** No Bearer token wanted. */
  public?: boolean;
  /** Bearer tokens that open this route alone, beside the API's; not for paths below `/api`. */
  ownTokens?: readonly string[];
  /** Accepts `Idempotency-Key`. */
  idempotent?: boolean;
  params?: z.ZodObject;
  query?: z.ZodObject;
  /** Headers that the handler heeds, by name, and what they say. For the document alone: it checks them itself. */
  headers?: Record<string, string>;
  body?: z.ZodType;
  /** Checks a body whose plain validation would hold the event loop for too long. Throws `invalidRequest`. */
  parseBody?: (raw: unknown) => Promise<unknown>;
  bodyExample?: unknown;
  /** Reads bytes in place of JSON: the handler's `body` is a `RawBody`, never an empty one. Not beside `body`. */
  rawBody?: RawBodyRule;
  /** Beside `body`. */
  stream?: StreamRule;
  /** What is posted to an address that a caller has given here, by event. For the document alone. */
  webhooks?: Record<string, { summary: string; schema: z.ZodType; example?: unknown }>;
  responses: Record<number, RouteResponse>;
  handle(request: RouteRequest<never, never, never>): Promise<RouteReply>;
}

type Output<Schema> = Schema extends z.ZodType ? z.output<Schema> : undefined;

/** Gives a route's handler the types of its schemas. */
export function route<
  const Params extends z.ZodObject | undefined = undefined,
  const Query extends z.ZodObject | undefined = undefined,
  const Body extends z.ZodType | undefined = undefined,
  const Raw extends RawBodyRule | undefined = undefined,
>(
  definition: Omit<Route, "handle" | "params" | "query" | "body" | "rawBody"> & {
    params?: Params;
    query?: Query;
    body?: Body;
    rawBody?: Raw;
    handle(
      request: RouteRequest<Output<Params>, Output<Query>, Raw extends RawBodyRule ? RawBody : Output<Body>>,
    ): Promise<RouteReply>;
  },
): Route {
  return definition as unknown as Route;
}
