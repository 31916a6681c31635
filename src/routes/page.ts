import { createHash } from "node:crypto";

/** Text as it may stand in HTML, within attributes too. */
export function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character]!);
}

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

const BASE_CSS = `
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#5b6470;--page:#fff;--card:#f5f6f8;--line:#d9dde3;--accent:#0b62c4;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--ink:#e4e7eb;--dim:#9aa4b2;--page:#14171b;--card:#1d2126;--line:#343a42;--accent:#7db5ff;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
a{color:var(--accent)}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.875em}
`;

export interface Page {
  html: string;
  headers: Record<string, string>;
}

/**
 * A page without scripts. `body` is HTML, its parts escaped already. Its policy allows just this style, by its hash,
 * and forms that lead back here.
 */
export function page({ title, css, body }: { title: string; css: string; body: string }): Page {
  const style = BASE_CSS + css;
  const styleHash = createHash("sha256").update(style).digest("base64");
  return {
    html: `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${escapeHtml(title)}</title>
<style>${style}</style>
</head>
<body>
${body}
</body>
</html>
`,
    headers: {
      "Content-Type": "text/html; charset=utf-8",
      "Content-Security-Policy": `default-src 'none'; style-src 'sha256-${styleHash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`,
    },
  };
}
