import type { Route, RouteResponse } from "../core/route.ts";
import type { JsonSchema, OpenApiResponse } from "./openapi-document.ts";
import { HTTP_PROBLEMS } from "./problems.ts";
import type { HttpProblemCode } from "./problems.ts";

export const PROBLEM_TYPE = "application/problem+json";

export const PROBLEM_SCHEMA: JsonSchema = {
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

export const COMMON_RESPONSES: Record<string, OpenApiResponse> = Object.fromEntries(
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

/** One of `commonStatuses`, by reference. */
export const commonResponse = (status: number): OpenApiResponse => ({
  $ref: `#/components/responses/${COMMON[status]!.name}`,
});

/** What every route of its kind can answer. */
export function commonStatuses(route: Route): number[] {
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
export function withSharedCodes(route: Route, status: number, response: RouteResponse): RouteResponse {
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

/** Headers of an answer, by name. */
export function documented(headers: Record<string, string>): NonNullable<OpenApiResponse["headers"]> {
  const described = Object.entries(headers).map(([name, description]) => [
    name,
    { description, schema: { type: "string" } },
  ]);
  return Object.fromEntries(described) as NonNullable<OpenApiResponse["headers"]>;
}
