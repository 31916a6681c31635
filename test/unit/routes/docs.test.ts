import request from "supertest";
import { expect, test } from "vitest";
import { z } from "zod";
import { route } from "../../../src/core/route.ts";
import { openApiDocument } from "../../../src/routes/openapi.ts";
import { madeUpApp, madeUpRoutes } from "./made-up-app.ts";

const INFO = { title: "Made-up API", version: "1.2.3" };
const Contact = z.object({ adId: z.string().describe("Yours."), tries: z.number().default(1) }).meta({ id: "Contact" });

const hostile = route({
  method: "post",
  path: "/api/hostile/:id",
  tag: "<script>tag</script>",
  summary: "<script>alert(1)</script>",
  description: 'Use `a<b` & "quotes"',
  idempotent: true,
  params: z.object({ id: z.string() }),
  query: z.object({ limit: z.coerce.number().int().max(9).optional().describe("At most so many.") }),
  body: z.object({ contacts: z.array(Contact) }),
  bodyExample: { contacts: [{ adId: "it's </code><script>" }] },
  responses: {
    202: {
      description: "Accepted.",
      schema: z.object({ first: Contact }),
      example: { first: { adId: "a", tries: 1 } },
    },
    422: { description: "No such account.", codes: { unknown_account: "Insert the account first." } },
  },
  handle: async () => ({ status: 202, body: {} }),
});

test("openapi.json is public and describes every route with its schemas", async () => {
  const answer = await request(madeUpApp({ routes: [...madeUpRoutes(), hostile] }).app).get("/openapi.json");
  expect([answer.status, answer.headers["content-type"]]).toEqual([200, "application/json; charset=utf-8"]);
  expect(answer.body.openapi).toBe("3.1.0");
  expect(answer.body.info).toMatchObject(INFO);
  expect(Object.keys(answer.body.paths)).toContain("/api/things/{thingId}/retry");
  expect(answer.body.paths["/health"].get.security).toEqual([]);
});

test("an operation has its parameters, body, shared answers and own problem codes", () => {
  const { paths } = openApiDocument([hostile], INFO);
  const operation = paths["/api/hostile/{id}"]!.post!;
  expect(operation.parameters!.map(({ name, in: place, required }) => [name, place, required])).toEqual([
    ["id", "path", true],
    ["limit", "query", false],
    ["Idempotency-Key", "header", false],
  ]);
  expect(Object.keys(operation.responses)).toEqual(["202", "400", "401", "413", "415", "422", "500", "503"]);
  expect(operation.responses["401"]).toEqual({ $ref: "#/components/responses/Unauthorized" });
  expect(operation.responses["422"]!["x-problem-codes"]).toEqual({ unknown_account: "Insert the account first." });
});

test("every $ref of the document leads somewhere, also when input and output of a schema differ", () => {
  const document = openApiDocument([...madeUpRoutes(), hostile], INFO);
  const refs = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map((match) => match[1]!);
  expect(refs).toContain("components/schemas/ContactOutput");
  const dangling = refs.filter(
    (ref) =>
      ref.split("/").reduce<unknown>((at, key) => (at as Record<string, unknown>)?.[key], document) === undefined,
  );
  expect(dangling).toEqual([]);
  expect(document.components.schemas.Contact!.required).toEqual(["adId"]);
  expect(document.components.schemas.ContactOutput!.required).toEqual(["adId", "tries"]);
});

test("the docs page shows each route, escaped, with fields, an example and problem codes", async () => {
  const { app } = madeUpApp({ routes: [...madeUpRoutes(), hostile], info: { title: "<b>API</b>", version: "1" } });
  const { status, headers, text } = await request(app).get("/docs");
  expect([status, headers["content-type"]]).toEqual([200, "text/html; charset=utf-8"]);
  expect(text).not.toMatch(/<script|<b>API/);
  expect(text).toContain("&lt;script&gt;alert(1)&lt;/script&gt;");
  expect(text).toContain("<code>a&lt;b</code> &amp; &quot;quotes&quot;");
  expect(text).toContain("contacts[].adId");
  expect(text).toContain("integer, ≤ 9, query");
  expect(text).toContain("it&#39;\\&#39;&#39;s &lt;/code&gt;");
  expect(text).toMatch(/id="problem-unknown_account".*Insert the account first/);
  expect(text).toContain('id="problem-body_too_large"');
});

const notifying = route({
  method: "post",
  path: "/api/watchers",
  tag: "Watchers",
  summary: "Be told",
  body: z.string(),
  stream: {
    description: "One <word> a line.",
    example: '"a"\n',
    handle: async () => ({ status: 201, body: undefined }),
  },
  webhooks: {
    "thing.made": {
      summary: "There is a `thing` <now>",
      schema: z.object({ thing: z.string().describe("Its name") }),
      example: { thing: "<i>lamp" },
    },
  },
  responses: {
    200: { description: "A picture.", schema: z.string(), mediaType: "image/png" },
    201: { description: "Made.", headers: { Location: "Where it <is>." } },
  },
  handle: async () => ({ status: 201, body: undefined }),
});

test("the docs page shows headers of answers, bodies of lines, and each event with its fields and an example, escaped", async () => {
  const { app } = madeUpApp({ routes: [...madeUpRoutes(), notifying] });
  const { text } = await request(app).get("/docs");
  expect(text).toMatch(/<dl class="headers"><dt>Location<\/dt><dd>.*Where it &lt;is&gt;\./);
  expect(text).toContain("A picture. <code>image/png</code>");
  expect(text).toContain("One &lt;word&gt; a line.");
  expect(text).toContain("<pre><code>&quot;a&quot;");
  expect(text).toContain('<li><a href="#events">Events</a></li>');
  const event = text.slice(text.indexOf('<article id="event-thing.made">'));
  expect(event.slice(0, event.indexOf("</article>"))).toMatch(
    /There is a <code>thing<\/code> &lt;now&gt;[^]*<dt>thing<\/dt>.*Its name[^]*&quot;&lt;i&gt;lamp&quot;/,
  );
  const events = text.slice(text.indexOf('id="events"'));
  expect(events).toContain("<dt>webhook-signature</dt>");
  expect(events).toMatch(/<dt>2XX<\/dt>[^]*<dt>410<\/dt>[^]*<dt>default<\/dt>/);
  expect((await request(madeUpApp().app).get("/docs")).text).not.toContain('id="events"');
});

test("the page's policy allows its own style by hash, and no script", async () => {
  const { headers } = await request(madeUpApp().app).get("/docs");
  expect(headers["content-security-policy"]).toMatch(
    /^default-src 'none'; style-src 'sha256-[\w+/=]+'; form-action 'self'/,
  );
});
