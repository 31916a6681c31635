import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import type { Page } from "./page.ts";

/** The same from `src/routes` and from `dist/routes`: these files run as they are written. */
const CONSOLE = new URL("../../console/", import.meta.url);
const TYPES: Record<string, string> = {
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};
/** What the console imports from npm, under the names that its import map gives them. */
const PACKAGES: Record<string, string> = { "preact.js": "preact", "preact-hooks.js": "preact/hooks" };
const BASE = "/admin/console/";

export interface ConsoleFile {
  type: string;
  /** Changes when the content does. */
  etag: string;
  plain: Buffer;
  gzip: Buffer;
}

/** Everything that the console is made of, by file name. Read at the first request, then kept. */
export function createConsoleFiles(): { page(): Page; file(name: string): ConsoleFile | undefined } {
  let files: Map<string, ConsoleFile> | undefined;
  const all = (): Map<string, ConsoleFile> => (files ??= readFiles());
  return { file: (name) => all().get(name), page: () => pageOf([...all().keys()]) };
}

function readFiles(): Map<string, ConsoleFile> {
  const own = readdirSync(CONSOLE).filter((name) => extname(name) in TYPES);
  const paths = own.map((name): [string, URL] => [name, new URL(name, CONSOLE)]);
  for (const [name, specifier] of Object.entries(PACKAGES)) paths.push([name, new URL(import.meta.resolve(specifier))]);
  return new Map(paths.map(([name, url]) => [name, fileOf(name, readFileSync(fileURLToPath(url)))]));
}

function fileOf(name: string, plain: Buffer): ConsoleFile {
  return {
    type: TYPES[extname(name)]!,
    etag: `"${createHash("sha256").update(plain).digest("base64url").slice(0, 22)}"`,
    plain,
    // Not Brotli: at its best it would hold the event loop for a tenth of a second, for a few kilobytes.
    gzip: gzipSync(plain, { level: 9 }),
  };
}

/** An import map cannot be a file, so its hash is allowed; nothing else runs that is not one of these files. */
function pageOf(names: readonly string[]): Page {
  const imports = Object.entries(PACKAGES).map(([name, specifier]) => [specifier, BASE + name]);
  const importMap = JSON.stringify({ imports: Object.fromEntries(imports) });
  const mapHash = createHash("sha256").update(importMap).digest("base64");
  const preloads = names
    .filter((name) => name.endsWith(".js"))
    .map((name) => `<link rel="modulepreload" href="${BASE}${name}">`);
  return {
    html: `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>Auto-Prospect</title>
<link rel="icon" href="${BASE}icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="${BASE}style.css">
<script type="importmap">${importMap}</script>
${preloads.join("\n")}
<script type="module" src="${BASE}main.js"></script>
</head>
<body>
<div id="app"><p class="booting">Loading…</p></div>
<noscript><p class="booting">The console needs JavaScript. Bull Board is at <a href="/admin/queues">/admin/queues</a>.</p></noscript>
</body>
</html>
`,
    headers: {
      "Content-Type": "text/html; charset=utf-8",
      "Content-Security-Policy":
        `default-src 'none'; script-src 'self' 'sha256-${mapHash}'; style-src 'self'; img-src 'self'; connect-src 'self'; ` +
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    },
  };
}
