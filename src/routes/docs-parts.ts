import { fieldsOf, typeOf } from "./docs-schema.ts";
import type { JsonSchema, OpenApiDocument } from "./openapi-document.ts";
import { escapeHtml as e } from "./page.ts";

/** What the sections of the docs page are made of. */

export function fieldList(schema: JsonSchema, document: OpenApiDocument): string[] {
  const fields = fieldsOf(schema, document);
  if (fields.length === 0) return [definition("(the body)", typeOf(schema, document), schema.description ?? "")];
  return fields.map(({ path, type, required, description }) =>
    definition(path, `${type}${required ? ", required" : ""}`, description),
  );
}

export function list(title: string, items: readonly string[]): string {
  return items.length === 0 ? "" : `<h4>${title}</h4>\n<dl>\n${items.join("\n")}\n</dl>`;
}

export function definition(term: string, type: string, description: string): string {
  const parts = [type === "" ? "" : `<span class="dim">${e(type)}</span>`, prose(description)];
  return `<dt>${e(term)}</dt><dd>${parts.filter((part) => part !== "").join(" ")}</dd>`;
}

/** Plain text, in which `backticks` mark code. */
export function prose(text: string): string {
  return e(text).replaceAll(/`([^`]+)`/g, "<code>$1</code>");
}
