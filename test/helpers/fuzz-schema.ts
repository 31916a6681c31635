import { z } from "zod";
import type {
  JsonSchema,
  OpenApiDocument,
  OpenApiOperation,
  OpenApiResponse,
} from "../../src/routes/openapi-document.ts";

export interface Operation extends OpenApiOperation {
  method: string;
  /** As in the document: `/api/messages/{messageId}`. */
  path: string;
}

/** Every method of every path. */
export function operationsOf(document: OpenApiDocument): Operation[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ ...operation, method: method.toUpperCase(), path })),
  );
}

/** An answer as the document describes it, a shared one by its `$ref` included. */
export function responseOf(
  document: OpenApiDocument,
  { responses }: OpenApiOperation,
  status: number,
): OpenApiResponse | undefined {
  const response = responses[status];
  if (response?.$ref === undefined) return response;
  return document.components.responses[response.$ref.slice("#/components/responses/".length)];
}

/** A schema with each `$ref` replaced by what it names: none of ours holds itself. */
export function dereference(schema: JsonSchema, document: OpenApiDocument): JsonSchema {
  return JSON.parse(JSON.stringify(schema), (key, value: unknown) => {
    // zod would want a whole URL of it.
    if (key === "format" && value === "uri-reference") return undefined;
    const ref = (value as JsonSchema | null)?.$ref;
    if (typeof ref !== "string") return value;
    const target = document.components.schemas[ref.slice("#/components/schemas/".length)];
    if (target === undefined) throw new Error(`${ref} leads nowhere`);
    return dereference(target, document);
  }) as JsonSchema;
}

/** Answers what does not fit, or undefined; compiled schemas are kept, as a fuzz asks thousands of times. */
export function createChecker(document: OpenApiDocument): (schema: JsonSchema, value: unknown) => string | undefined {
  const compiled = new Map<JsonSchema, z.ZodType>();
  return (schema, value) => {
    let type = compiled.get(schema);
    if (type === undefined) {
      type = z.fromJSONSchema(dereference(schema, document) as Parameters<typeof z.fromJSONSchema>[0]);
      compiled.set(schema, type);
    }
    const result = type.safeParse(value);
    return result.success ? undefined : z.prettifyError(result.error);
  };
}
