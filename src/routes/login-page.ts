import { escapeHtml, page } from "./page.ts";
import type { Page } from "./page.ts";

const CSS = `
main{max-width:24rem;margin:12vh auto;padding:0 1rem}
form{display:grid;gap:.75rem;padding:1.25rem;background:var(--card);border:1px solid var(--line);border-radius:.5rem}
input,button{font:inherit;padding:.6rem .75rem;border-radius:.375rem;border:1px solid var(--line);background:var(--page);color:var(--ink);width:100%}
button{background:var(--accent);color:var(--page);border-color:transparent;font-weight:600;cursor:pointer}
.error{color:var(--bad);margin:0}
`;

/** The form that takes an API secret. */
export function loginPage(error?: string): Page {
  return page({
    title: "Log in · Auto-Prospect",
    css: CSS,
    body: `<main>
<h1>Auto-Prospect</h1>
<form method="post" action="/admin/login">
<label for="secret">API secret</label>
<input id="secret" name="secret" type="password" autocomplete="current-password" required autofocus>
${error === undefined ? "" : `<p class="error" role="alert">${escapeHtml(error)}</p>`}
<button type="submit">Log in</button>
</form>
</main>`,
  });
}

/** Logging out changes something, so it takes a POST: Bull Board's menu can only link here. */
export function logoutPage(): Page {
  return page({
    title: "Log out · Auto-Prospect",
    css: CSS,
    body: `<main>
<h1>Auto-Prospect</h1>
<form method="post" action="/admin/logout">
<button type="submit">Log out</button>
<a href="/admin">Back to the console</a>
</form>
</main>`,
  });
}
