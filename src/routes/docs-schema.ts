import type { JsonSchema, OpenApiDocument } from "./openapi-document.ts";

/** One line of a table of fields. */
export interface Field {
  /** As in `contacts[].adId`. */
  path: string;
  type: string;
  required: boolean;
  description: string;
}

const MAX_DEPTH = 5;

/** The fields of a schema and of what it holds, a flat list that a phone can show. */
export function fieldsOf(schema: JsonSchema, document: OpenApiDocument): Field[] {
  const fields: Field[] = [];
  collect(resolve(schema, document), "", document, fields, 0);
  return fields;
}

function collect(schema: JsonSchema, prefix: string, document: OpenApiDocument, fields: Field[], depth: number): void {
  if (depth > MAX_DEPTH) return;
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    const path = prefix === "" ? name : `${prefix}.${name}`;
    const field = resolve(property, document);
    fields.push({
      path,
      type: typeOf(field, document),
      required: schema.required?.includes(name) === true,
      description: field.description ?? "",
    });
    collect(field, path, document, fields, depth + 1);
  }
  if (schema.items !== undefined) collect(resolve(schema.items, document), `${prefix}[]`, document, fields, depth + 1);
  for (const branch of branchesOf(schema)) collect(resolve(branch, document), prefix, document, fields, depth + 1);
}

/** A schema's type with its limits, in a few words. */
export function typeOf(given: JsonSchema, document: OpenApiDocument, depth = 0): string {
  const schema = resolve(given, document);
  if (depth > MAX_DEPTH) return "…";
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (Array.isArray(schema.enum)) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const branches = branchesOf(schema);
  if (branches.length > 0)
    return [...new Set(branches.map((branch) => typeOf(branch, document, depth + 1)))].join(" or ");
  if (schema.items !== undefined) return `list of ${typeOf(schema.items, document, depth + 1)}${limits(schema)}`;
  const type = Array.isArray(schema.type) ? schema.type.join(" or ") : (schema.type ?? "anything");
  return `${type}${typeof schema.format === "string" ? ` (${schema.format})` : ""}${limits(schema)}`;
}

/** `allOf` is left out: zod writes it only for intersections, whose parts `collect` need not tell apart. */
function branchesOf(schema: JsonSchema): JsonSchema[] {
  return (schema.anyOf ?? schema.oneOf ?? []) as JsonSchema[];
}

function limits(schema: JsonSchema): string {
  const parts = [
    range(schema.minLength, schema.maxLength, "characters"),
    range(schema.minItems, schema.maxItems, "items"),
    range(schema.minimum, schema.maximum, ""),
    schema.default === undefined ? "" : `default ${JSON.stringify(schema.default)}`,
  ].filter((part) => part !== "");
  return parts.length === 0 ? "" : `, ${parts.join(", ")}`;
}

function range(from: unknown, to: unknown, unit: string): string {
  const low = bound(from);
  const high = bound(to);
  if (low === undefined && high === undefined) return "";
  const text = low === undefined ? `≤ ${high}` : high === undefined ? `≥ ${low}` : `${low}–${high}`;
  return unit === "" ? text : `${text} ${unit}`;
}

/** zod bounds every whole number by what JavaScript can count, which tells the reader nothing. */
function bound(value: unknown): number | undefined {
  return typeof value === "number" && Math.abs(value) !== Number.MAX_SAFE_INTEGER ? value : undefined;
}

/** Follows a `$ref` into the components; what stands beside it (a description) wins. */
function resolve(schema: JsonSchema, document: OpenApiDocument): JsonSchema {
  if (schema.$ref === undefined) return schema;
  const { $ref, ...beside } = schema;
  const target = document.components.schemas[$ref.slice("#/components/schemas/".length)];
  return { ...target, ...beside };
}
