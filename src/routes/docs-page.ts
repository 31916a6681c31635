import { eventsHtml } from "./docs-events.ts";
import { definition, fieldList, list, prose } from "./docs-parts.ts";
import { typeOf } from "./docs-schema.ts";
import type { OpenApiDocument, OpenApiOperation, OpenApiResponse } from "./openapi-document.ts";
import { escapeHtml as e, page, type Page } from "./page.ts";
import { HTTP_PROBLEMS } from "./problems.ts";

const CSS = `
main,header,nav{max-width:60rem;margin:0 auto;padding:0 1rem;overflow-wrap:anywhere}
header{padding-top:2rem}
h2{margin-top:3rem;border-bottom:1px solid var(--line)}
article{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:1rem 1.25rem;margin:1.25rem 0}
article h3{margin:0;font-size:1rem}
.method{display:inline-block;min-width:3.5rem;color:var(--accent);font-weight:700}
.dim,.dim a{color:var(--dim)}
h4{margin:1.25rem 0 .25rem;font-size:.9rem}
pre{background:var(--page);border:1px solid var(--line);border-radius:.375rem;padding:.75rem;overflow-x:auto}
dl{margin:.25rem 0}
dt{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.875rem;margin-top:.5rem}
dd{margin:0 0 0 1rem}
.headers{border-left:2px solid var(--line);padding-left:.75rem}
.headers dd{margin-left:0}
summary{cursor:pointer;color:var(--accent);font-size:.9rem}
main>nav{padding:0}
nav.short ul{columns:13rem}
nav ul{columns:22rem;padding-left:1.25rem}
nav li{break-inside:avoid}
.target:target,article:target{outline:2px solid var(--accent)}
`;

/** The API as one page for people: no scripts, every word of it from the OpenAPI document, escaped. */
export function docsPage(document: OpenApiDocument): Page {
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  );
  const rooms = document.tags.map(({ name }) => ({
    name,
    own: operations.filter(({ operation }) => operation.tags[0] === name),
  }));
  const sections = rooms.map(
    ({ name, own }) => `<h2>${e(name)}</h2>\n${own.map((one) => operationHtml(one, document)).join("\n")}`,
  );
  const index = rooms
    .flatMap(({ own }) => own)
    .map(
      ({ method, path, operation }) =>
        // Where a long path may go on in another line: at its slashes.
        `<li><a href="#${e(operation.operationId)}"><code>${method} ${e(path).replaceAll("/", "/<wbr>")}</code></a></li>`,
    );
  const events = Object.entries(document.webhooks);
  if (events.length > 0) index.push('<li><a href="#events">Events</a></li>');
  return page({
    title: `${document.info.title} · API`,
    css: CSS,
    body: `<header>
<h1>${e(document.info.title)} <span class="dim">${e(document.info.version)}</span></h1>
<p>${e(document.info.description)}</p>
<p>Paths under <code>/api</code> want <code>Authorization: Bearer &lt;API secret&gt;</code>. The same as data: <a href="/openapi.json">openapi.json</a>.</p>
</header>
<nav aria-label="Paths"><ul>
${index.join("\n")}
<li><a href="#problems">Problem codes</a></li>
</ul></nav>
<main>
${sections.join("\n")}
${eventsHtml(events, document)}
<h2 id="problems">Problem codes</h2>
<dl>
${problemsHtml(operations.map(({ operation }) => operation))}
</dl>
</main>`,
  });
}

interface Entry {
  method: string;
  path: string;
  operation: OpenApiOperation;
}

function operationHtml({ method, path, operation }: Entry, document: OpenApiDocument): string {
  const body = operation.requestBody?.content["application/json"];
  const others = Object.entries(operation.requestBody?.content ?? {}).filter(([type]) => type !== "application/json");
  const lines = others.filter(([, { schema }]) => schema.type === "string");
  const files = others.filter(([, { schema }]) => schema.type !== "string").map(([type]) => type);
  const parameters = (operation.parameters ?? []).map(({ name, in: place, required, description = "", schema }) =>
    definition(name, `${typeOf(schema, document)}, ${place}${required ? ", required" : ""}`, description),
  );
  return `<article id="${e(operation.operationId)}">
<h3><span class="method">${e(method)}</span> <code>${e(path)}</code></h3>
<p><strong>${e(operation.summary)}</strong>${operation.security?.length === 0 ? ' <span class="dim">public</span>' : ""}</p>
${operation.description === undefined ? "" : `<p>${prose(operation.description)}</p>`}
${list("Parameters", parameters)}
${body === undefined ? "" : list("Body", fieldList(body.schema, document))}
${lines
  .map(([type, { schema, example }]) =>
    [
      list(`Or as ${type}`, [definition("(text)", "a line each", schema.description ?? "")]),
      typeof example === "string" ? `<pre><code>${e(example)}</code></pre>` : "",
    ].join("\n"),
  )
  .join("\n")}
${files.length === 0 ? "" : list("Body", [definition("(the file's bytes)", files.join(", "), "")])}
<h4>Example</h4>
<pre><code>${e(curl(method, path, operation))}</code></pre>
<h4>Answers</h4>
<dl>
${Object.entries(operation.responses)
  .map(([status, response]) => answerHtml(status, response, document))
  .join("\n")}
</dl>
</article>`;
}

/** What needs no mention: all others are so. */
const JSON_TYPES = new Set(["application/json", "application/problem+json"]);

function answerHtml(status: string, given: OpenApiResponse, document: OpenApiDocument): string {
  const response = given.$ref === undefined ? given : document.components.responses[given.$ref.split("/").at(-1)!]!;
  const codes = Object.keys(response["x-problem-codes"] ?? {}).map(
    (code) => `<a href="#problem-${e(code)}">${e(code)}</a>`,
  );
  const json = response.content?.["application/json"];
  const fields = json === undefined ? [] : fieldList(json.schema, document);
  const types = Object.keys(response.content ?? {}).filter((type) => !JSON_TYPES.has(type));
  const headers = Object.entries(response.headers ?? {}).map(([name, { description }]) =>
    definition(name, "header", description),
  );
  return `<dt>${e(status)}</dt>
<dd>${prose(response.description ?? "")}${types.map((type) => ` <code>${e(type)}</code>`).join("")}${codes.length === 0 ? "" : ` <span class="dim">${codes.join(", ")}</span>`}
${headers.length === 0 ? "" : `<dl class="headers">${headers.join("\n")}</dl>`}
${fields.length === 0 ? "" : `<details><summary>Fields</summary><dl>${fields.join("\n")}</dl></details>`}
${json?.example === undefined ? "" : `<pre><code>${e(JSON.stringify(json.example, null, 2))}</code></pre>`}</dd>`;
}

function problemsHtml(operations: readonly OpenApiOperation[]): string {
  const meanings = new Map<string, string>();
  for (const [code, { status, title, meaning }] of Object.entries(HTTP_PROBLEMS)) {
    meanings.set(code, `${status}. ${title}. ${meaning}`);
  }
  for (const { responses } of operations) {
    for (const [status, response] of Object.entries(responses)) {
      for (const [code, meaning] of Object.entries(response["x-problem-codes"] ?? {})) {
        if (!meanings.has(code)) meanings.set(code, `${status}. ${meaning}`);
      }
    }
  }
  return [...meanings]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([code, meaning]) => `<dt class="target" id="problem-${e(code)}">${e(code)}</dt><dd>${prose(meaning)}</dd>`)
    .join("\n");
}

function curl(method: string, path: string, operation: OpenApiOperation): string {
  const lines = [`curl ${method === "GET" ? "" : `-X ${method} `}"$URL${path.replaceAll(/\{(\w+)\}/g, "<$1>")}"`];
  if (operation.security?.length !== 0) lines.push('-H "Authorization: Bearer $API_SECRET"');
  if (operation.parameters?.some(({ name }) => name === "Idempotency-Key"))
    lines.push('-H "Idempotency-Key: $(uuidgen)"');
  const body = operation.requestBody?.content["application/json"];
  if (body !== undefined) {
    lines.push('-H "Content-Type: application/json"');
    const json = JSON.stringify(body.example ?? {}, null, 2);
    lines.push(`-d '${json.replaceAll("'", String.raw`'\''`)}'`);
  }
  const [fileType] = Object.keys(operation.requestBody?.content ?? {});
  if (body === undefined && fileType !== undefined) {
    lines.push(`-H "Content-Type: ${fileType}"`, "--data-binary @file");
  }
  return lines.join(" \\\n  ");
}
