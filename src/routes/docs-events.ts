import { definition, fieldList, list, prose } from "./docs-parts.ts";
import type { OpenApiDocument } from "./openapi-document.ts";
import { escapeHtml as e } from "./page.ts";

/** What is posted to webhook endpoints: once what all events have alike, then each of them. */
export function eventsHtml(events: readonly [string, { post: Event }][], document: OpenApiDocument): string {
  const [, first] = events[0] ?? [];
  if (first === undefined) return "";
  const headers = (first.post.parameters ?? []).map(({ name, description = "" }) => definition(name, "", description));
  // In an object 410 comes before 2XX.
  const answers = Object.entries(first.post.responses)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([status, { description = "" }]) => definition(status, "", description));
  const index = events.map(([name]) => `<li><a href="#event-${e(name)}"><code>${e(name)}</code></a></li>`);
  return `<h2 id="events">Events</h2>
<p>Posted to an account’s webhook endpoints as JSON, signed as <a href="https://www.standardwebhooks.com">Standard Webhooks</a> has it; the same reach whoever reads live events, but for <code>webhook.test</code>.</p>
${list("Headers", headers)}
${list("What your endpoint answers", answers)}
<nav class="short" aria-label="Events"><ul>
${index.join("\n")}
</ul></nav>
${events.map(([name, { post }]) => eventHtml(name, post, document)).join("\n")}`;
}

type Event = OpenApiDocument["webhooks"][string]["post"];

function eventHtml(name: string, { summary, requestBody }: Event, document: OpenApiDocument): string {
  const json = requestBody?.content["application/json"];
  return `<article id="event-${e(name)}">
<h3><code>${e(name)}</code></h3>
<p><strong>${prose(summary)}</strong></p>
${json === undefined ? "" : `<details><summary>Fields</summary><dl>${fieldList(json.schema, document).join("\n")}</dl></details>`}
${json?.example === undefined ? "" : `<pre><code>${e(JSON.stringify(json.example, null, 2))}</code></pre>`}
</article>`;
}
