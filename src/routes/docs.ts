import { route } from "../core/route.ts";
import type { Route } from "../core/route.ts";
import { docsPage } from "./docs-page.ts";
import { openApiDocument } from "./openapi.ts";

/** `GET /openapi.json` and `GET /docs`, both public, both made from the table of routes at the first request. */
export function docsRoutes(routes: readonly Route[], info: { title: string; version: string }): Route[] {
  const document = once(() => openApiDocument(routes, info));
  const json = once(() => JSON.stringify(document(), null, 2));
  const html = once(() => docsPage(document()));
  const common = { method: "get", public: true, tag: "Documentation" } as const;
  return [
    route({
      ...common,
      path: "/openapi.json",
      summary: "The API as OpenAPI 3.1",
      responses: { 200: { description: "The document." } },
      handle: async () => ({
        status: 200,
        body: json(),
        headers: { "Content-Type": "application/json; charset=utf-8" },
      }),
    }),
    route({
      ...common,
      path: "/docs",
      summary: "The API for people",
      responses: { 200: { description: "The page." } },
      handle: async () => ({ status: 200, body: html().html, headers: html().headers }),
    }),
  ];
}

function once<Value>(make: () => Value): () => Value {
  let made: { value: Value } | undefined;
  return () => (made ??= { value: make() }).value;
}
