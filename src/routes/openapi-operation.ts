import type { z } from "zod";
import type { Route, RouteResponse } from "../core/route.ts";
import type { JsonSchema, OpenApiOperation, OpenApiParameter, OpenApiResponse } from "./openapi-document.ts";
import { commonResponse, commonStatuses, documented, PROBLEM_TYPE, withSharedCodes } from "./openapi-problems.ts";
import { jsonSchema } from "./openapi-schema.ts";

/** One route as an operation; named schemas that it uses are added to `schemas`. */
export function operation(route: Route, schemas: Record<string, JsonSchema>): OpenApiOperation {
  const parameters = [
    ...parametersOf(route.params, "path", schemas),
    ...parametersOf(route.query, "query", schemas),
    ...(route.idempotent ? [IDEMPOTENCY_KEY] : []),
    ...Object.entries(route.headers ?? {}).map(([name, description]) => headerOf(name, description)),
  ];
  // Before the answers: where a schema differs as input and as output, the input keeps its plain name.
  const requestBody = requestBodyOf(route, schemas);
  const responses: Record<string, OpenApiResponse> = {};
  for (const status of commonStatuses(route)) responses[status] = commonResponse(status);
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

const IDEMPOTENCY_KEY: OpenApiParameter = {
  name: "Idempotency-Key",
  in: "header",
  required: false,
  description:
    "Makes it safe to send the request again: the same key with the same body gets the same answer for 24 hours, with another body a 409.",
  schema: { type: "string", minLength: 1, maxLength: 255, pattern: "^[\\x20-\\x7e]+$" },
};

export function headerOf(name: string, description: string): OpenApiParameter {
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
