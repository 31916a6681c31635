import { z } from "zod";
import type { JsonSchema } from "./openapi-document.ts";

/** Moves the definitions of schemas with an `id` to the shared components. */
export function jsonSchema(schema: z.ZodType, io: "input" | "output", schemas: Record<string, JsonSchema>): JsonSchema {
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
