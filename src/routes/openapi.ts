import type { Route } from "../core/route.ts";
import type { JsonSchema, OpenApiDocument } from "./openapi-document.ts";
import { headerOf, operation } from "./openapi-operation.ts";
import { COMMON_RESPONSES, PROBLEM_SCHEMA } from "./openapi-problems.ts";
import { jsonSchema } from "./openapi-schema.ts";

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
