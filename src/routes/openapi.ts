import { z } from "zod";
import type { Route, RouteResponse } from "../core/route.ts";
import { HTTP_PROBLEMS } from "./problems.ts";
import type { HttpProblemCode } from "./problems.ts";

/** As much of JSON Schema (2020-12) as zod writes and the docs page reads. */
export interface JsonSchema {
  [keyword: string]: unknown;
  $ref?: string;
  type?: string | string[];
  properties?: Record<string, JsonSchema>;
  required?: string[];
  items?: JsonSchema;
  description?: string;
}

export interface OpenApiParameter {
  name: string;
  in: "path" | "query" | "header";
  required: boolean;
  description?: string;
  schema: JsonSchema;
}

export interface OpenApiResponse {
  $ref?: string;
  description?: string;
  headers?: Record<string, { description: string; schema: JsonSchema }>;
  content?: Record<string, { schema: JsonSchema; example?: unknown }>;
  "x-problem-codes"?: Record<string, string>;
}

export interface OpenApiOperation {
  operationId: string;
  tags: string[];
  summary: string;
  description?: string;
  security?: Record<string, string[]>[];
  parameters?: OpenApiParameter[];
  requestBody?: { required: boolean; content: Record<string, { schema: JsonSchema; example?: unknown }> } | undefined;
  responses: Record<string, OpenApiResponse>;
}

export interface OpenApiDocument {
  openapi: "3.1.0";
  info: { title: string; version: string; description: string };
  tags: { name: string }[];
  security: Record<string, string[]>[];
  paths: Record<string, Record<string, OpenApiOperation>>;
  /** By event. */
  webhooks: Record<string, { post: Omit<OpenApiOperation, "operationId"> }>;
  components: {
    securitySchemes: Record<string, unknown>;
    schemas: Record<string, JsonSchema>;
    responses: Record<string, OpenApiResponse>;
  };
}

const PROBLEM_TYPE = "application/problem+json";

/** The OpenAPI 3.1 description of the very schemas that requests are checked with. */
export function openApiDocument(routes: readonly Route[], info: { title: string; version: string }): OpenApiDocument {
  const schemas: Record<string, JsonSchema> = { Problem: PROBLEM_SCHEMA };
  const paths: OpenApiDocument["paths"] = {};
  const webhooks: OpenApiDocument["webhooks"] = {};
  for (const route of routes) {
    const path = route.path.replaceAll(/:(\w+)/g, "{$1}");
    (paths[path] ??= {})[route.method] = operation(route, schemas);
    Object.assign(webhooks, webhooksOf(route, schemas));
  }
  return {
    openapi: "3.1.0",
    info: { ...info, description: DESCRIPTION },
    tags: [...new Set(routes.map((route) => route.tag))].map((name) => ({ name })),
    security: [{ bearer: [] }],
    paths,
    webhooks,
    components: {
      securitySchemes: { bearer: { type: "http", scheme: "bearer", description: "The API secret." } },
      schemas,
      responses: COMMON_RESPONSES,
    },
  };
}

const DESCRIPTION =
  "JSON in and out, but for uploads. Errors are application/problem+json (RFC 9457) and list every fault at once. " +
  "A POST that sends, delivers or spends takes an Idempotency-Key: the same key with the same body is one request for 24 hours.";

const PROBLEM_SCHEMA: JsonSchema = {
  type: "object",
  description: "What went wrong (RFC 9457).",
  required: ["type", "title", "status", "detail", "code", "requestId"],
  properties: {
    type: { type: "string", format: "uri-reference", description: "Where the code is explained." },
    title: { type: "string" },
    status: { type: "integer" },
    detail: { type: "string", description: "What happened, what it means, what to do." },
    code: { type: "string", description: "Stable and machine readable." },
    requestId: { type: "string", description: "Also in the X-Request-Id header, and in the log." },
    errors: {
      type: "array",
      description: "Every fault of the request.",
      items: {
        type: "object",
        required: ["pointer", "detail"],
        properties: {
          pointer: { type: "string", description: "JSON pointer into the body, or /query/…, /path/…, /header/…" },
          detail: { type: "string" },
        },
      },
    },
  },
};

/** Answers that routes share, by status; each names the codes it comes with. */
const COMMON: Record<number, { name: string; codes: HttpProblemCode[] }> = {
  400: { name: "InvalidRequest", codes: ["invalid_request", "malformed_json", "malformed_request"] },
  401: { name: "Unauthorized", codes: ["unauthorized"] },
  404: { name: "UnknownPath", codes: ["unknown_route"] },
  405: { name: "MethodNotAllowed", codes: ["method_not_allowed"] },
  413: { name: "BodyTooLarge", codes: ["body_too_large"] },
  415: { name: "UnsupportedMediaType", codes: ["unsupported_media_type"] },
  500: { name: "InternalError", codes: ["internal_error"] },
  503: { name: "Unavailable", codes: ["stopping", "database_unavailable", "redis_unavailable"] },
};

const RETRY_AFTER = { "Retry-After": "Seconds after which to send it again; absent where that does not help." };

const COMMON_RESPONSES: Record<string, OpenApiResponse> = Object.fromEntries(
  Object.values(COMMON).map(({ name, codes }) => [
    name,
    {
      description: codes.map((code) => HTTP_PROBLEMS[code].title).join(", or: "),
      ...(name === "Unavailable" ? { headers: documented(RETRY_AFTER) } : {}),
      content: {
        [PROBLEM_TYPE]: { schema: { $ref: "#/components/schemas/Problem" }, example: problemExample(codes[0]!) },
      },
      "x-problem-codes": Object.fromEntries(codes.map((code) => [code, HTTP_PROBLEMS[code].meaning])),
    },
  ]),
);

function problemExample(code: HttpProblemCode): unknown {
  const { status, title, meaning } = HTTP_PROBLEMS[code];
  const requestId = "0198c5a2-7d5e-7b1a-9f00-3c2a8d9e4f10";
  const errors = [{ pointer: "/contacts/0/recipientPhone", detail: "is missing; expected text" }];
  return {
    type: `/docs#problem-${code}`,
    title,
    status,
    detail: meaning,
    code,
    requestId,
    ...(code === "invalid_request" ? { errors } : {}),
  };
}

function operation(route: Route, schemas: Record<string, JsonSchema>): OpenApiOperation {
  const parameters = [
    ...parametersOf(route.params, "path", schemas),
    ...parametersOf(route.query, "query", schemas),
    ...(route.idempotent ? [IDEMPOTENCY_KEY] : []),
    ...Object.entries(route.headers ?? {}).map(([name, description]) => headerOf(name, description)),
  ];
  // Before the answers: where a schema differs as input and as output, the input keeps its plain name.
  const requestBody = requestBodyOf(route, schemas);
  const responses: Record<string, OpenApiResponse> = {};
  for (const status of commonStatuses(route)) {
    responses[status] = { $ref: `#/components/responses/${COMMON[status]!.name}` };
  }
  for (const [status, response] of Object.entries(route.responses))
    responses[status] = responseOf(status, withSharedCodes(route, Number(status), response), schemas);
  return {
    operationId: `${route.method}${route.path.replaceAll(/[^A-Za-z0-9]+(\w)/g, (_, first: string) => first.toUpperCase())}`,
    tags: [route.tag],
    summary: route.summary,
    ...(route.description === undefined ? {} : { description: route.description }),
    ...(route.public ? { security: [] } : {}),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(requestBody === undefined ? {} : { requestBody }),
    responses,
  };
}

const SIGNATURE = [
  headerOf("webhook-id", "The event's `id`, the same at each attempt."),
  headerOf("webhook-timestamp", "Of this attempt, seconds since 1970."),
  headerOf("webhook-signature", "`v1,` and HMAC-SHA256 in base64; several with a space between (Standard Webhooks)."),
];

function webhooksOf({ webhooks = {}, tag }: Route, schemas: Record<string, JsonSchema>): OpenApiDocument["webhooks"] {
  const described = Object.entries(webhooks).map(([event, { summary, schema, example }]) => {
    const body = { schema: jsonSchema(schema, "output", schemas), ...(example === undefined ? {} : { example }) };
    const post = {
      tags: [tag],
      summary,
      security: [],
      parameters: SIGNATURE,
      requestBody: { required: true, content: { "application/json": body } },
      responses: {
        "2XX": { description: "Taken." },
        "410": { description: "Gone: the endpoint is turned off." },
        default: { description: "It is tried again, for about a day." },
      },
    };
    return [event, { post }];
  });
  return Object.fromEntries(described) as OpenApiDocument["webhooks"];
}

function commonStatuses(route: Route): number[] {
  const takesInput = route.params ?? route.query ?? route.body ?? route.rawBody;
  return [
    // A parameter that is not known is refused as well, except on a public path.
    ...(takesInput !== undefined || !route.public ? [400] : []),
    ...(route.public ? [] : [401]),
    // A body is taken off the wire also where none is wanted.
    ...(route.method === "get" ? [] : [413, 415]),
    500,
    503,
  ];
}

/** A route's own words for a status stand beside what every route can answer with it. */
function withSharedCodes(route: Route, status: number, response: RouteResponse): RouteResponse {
  if (response.schema !== undefined) return response;
  const shared = commonStatuses(route).includes(status) ? COMMON[status]!.codes : [];
  const codes: Record<string, string> = {
    ...Object.fromEntries(shared.map((code) => [code, HTTP_PROBLEMS[code].meaning])),
    ...(status === 409 && route.idempotent ? { idempotency_conflict: IDEMPOTENCY_CONFLICT } : {}),
    ...response.codes,
  };
  return Object.keys(codes).length === 0 ? response : { ...response, codes };
}

const IDEMPOTENCY_CONFLICT =
  "The `Idempotency-Key` came with another body within 24 hours. Use a new key for a new request.";

const IDEMPOTENCY_KEY: OpenApiParameter = {
  name: "Idempotency-Key",
  in: "header",
  required: false,
  description:
    "Makes it safe to send the request again: the same key with the same body gets the same answer for 24 hours, with another body a 409.",
  schema: { type: "string", minLength: 1, maxLength: 255, pattern: "^[\\x20-\\x7e]+$" },
};

function headerOf(name: string, description: string): OpenApiParameter {
  return { name, in: "header", required: false, description, schema: { type: "string" } };
}

function parametersOf(
  object: z.ZodObject | undefined,
  place: "path" | "query",
  schemas: Record<string, JsonSchema>,
): OpenApiParameter[] {
  if (object === undefined) return [];
  const { properties = {}, required = [] } = jsonSchema(object, "input", schemas);
  return Object.entries(properties).map(([name, { description, ...schema }]) => ({
    name,
    in: place,
    required: place === "path" || required.includes(name),
    ...(description === undefined ? {} : { description }),
    schema,
  }));
}

function requestBodyOf(route: Route, schemas: Record<string, JsonSchema>): OpenApiOperation["requestBody"] {
  const { body, rawBody } = route;
  if (rawBody !== undefined) {
    const content = rawBody.contentTypes.map((type) => {
      // Bytes as they are have no `type` (OpenAPI 3.1, 4.8.14.2); the length counts them.
      const schema: JsonSchema = { contentMediaType: type, maxLength: rawBody.maxBytes };
      return [type, { schema, ...(rawBody.example === undefined ? {} : { example: rawBody.example }) }];
    });
    return { required: true, content: Object.fromEntries(content) };
  }
  if (body === undefined) return undefined;
  const schema = jsonSchema(body, "input", schemas);
  const example = route.bodyExample === undefined ? {} : { example: route.bodyExample };
  const stream =
    route.stream === undefined
      ? {}
      : {
          "application/x-ndjson": {
            schema: { type: "string", description: route.stream.description },
            example: route.stream.example,
          },
        };
  const content = { "application/json": { schema, ...example }, ...stream };
  return { required: !body.safeParse(undefined).success, content };
}

function responseOf(status: string, response: RouteResponse, schemas: Record<string, JsonSchema>): OpenApiResponse {
  const { description, schema, mediaType = "application/json", example, headers, codes } = response;
  const isProblem = Number(status) >= 400 && schema === undefined;
  const content = isProblem
    ? {
        [PROBLEM_TYPE]: {
          schema: { $ref: "#/components/schemas/Problem" },
          ...(example === undefined ? {} : { example }),
        },
      }
    : schema && {
        [mediaType]: {
          schema: jsonSchema(schema, "output", schemas),
          ...(example === undefined ? {} : { example }),
        },
      };
  return {
    description,
    ...(headers === undefined ? {} : { headers: documented(headers) }),
    ...(content === undefined ? {} : { content }),
    ...(codes === undefined ? {} : { "x-problem-codes": codes }),
  };
}

function documented(headers: Record<string, string>): NonNullable<OpenApiResponse["headers"]> {
  const described = Object.entries(headers).map(([name, description]) => [
    name,
    { description, schema: { type: "string" } },
  ]);
  return Object.fromEntries(described) as NonNullable<OpenApiResponse["headers"]>;
}

/** Moves the definitions of schemas with an `id` to the shared components. */
function jsonSchema(schema: z.ZodType, io: "input" | "output", schemas: Record<string, JsonSchema>): JsonSchema {
  const {
    $schema: _,
    $defs = {},
    ...root
  } = z.toJSONSchema(schema, { io, unrepresentable: "any" }) as JsonSchema & {
    $defs?: Record<string, JsonSchema>;
  };
  const names = new Map<string, string>();
  for (const [id, definition] of Object.entries($defs)) {
    const known = schemas[id];
    // What goes in and what comes out of one schema may differ, by defaults and transforms.
    const clashes = known !== undefined && JSON.stringify(known) !== JSON.stringify(relink(definition, new Map()));
    names.set(id, clashes ? `${id}${io === "input" ? "Input" : "Output"}` : id);
  }
  for (const [id, definition] of Object.entries($defs)) schemas[names.get(id)!] = relink(definition, names);
  return relink(root, names);
}

function relink(schema: JsonSchema, names: ReadonlyMap<string, string>): JsonSchema {
  return JSON.parse(JSON.stringify(schema), (key, value: unknown) => {
    if (key !== "$ref" || typeof value !== "string" || !value.startsWith("#/$defs/")) return value;
    const id = value.slice("#/$defs/".length);
    return `#/components/schemas/${names.get(id) ?? id}`;
  }) as JsonSchema;
}
