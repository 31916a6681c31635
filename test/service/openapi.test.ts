import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { OpenApiDocument } from "../../src/routes/openapi-document.ts";
import { HTTP_PROBLEMS } from "../../src/routes/problems.ts";
import { createChecker, operationsOf, responseOf } from "../helpers/fuzz-schema.ts";
import { settles } from "../helpers/hunts.ts";
import { pathsOfTheRouter } from "../helpers/router.ts";
import { openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";
import { WEBHOOKS } from "../helpers/sms-vendors.ts";
import { ENCRYPTION_KEY } from "../helpers/whatsapp.ts";

const SOURCE = new URL("../../src/", import.meta.url);
const DOCS = new URL("../../docs/", import.meta.url);
/** The document does not describe the pages that describe it. */
const OWN_PAGES = ["/docs", "/openapi.json"];

let world: World;
let service: TestService;
let document: OpenApiDocument;

beforeAll(async () => {
  world = await openWorld();
  // What the examples name is nowhere to be found.
  const environment = {
    ...WEBHOOKS,
    WHATSAPP_ENCRYPTION_KEY: ENCRYPTION_KEY,
    // Nobody answers there: pairing goes on trying.
    WHATSAPP_WS_URL: "ws://127.0.0.1:1/",
  };
  service = await world.start(environment, { fetchPolicy: { lookup: async () => [] } });
  document = (await service.get("/openapi.json")).body;
  await world.sql.query("insert into accounts (id) values ('acc_456')");
});
afterAll(() => world[Symbol.asyncDispose]());

const request = (method: string, path: string): Promise<Response> =>
  fetch(service.url + path, { method, headers: { authorization: `Bearer ${SECRET}` } });

test("the document → describes exactly the paths that the router has", async () => {
  const documented = Object.keys(document.paths).map((path) => path.replaceAll(/\{(\w+)\}/g, ":$1"));
  const own = (await pathsOfTheRouter(service)).filter(({ depth }) => depth === 0);
  expect(own.map(({ path }) => path).toSorted()).toEqual([...documented, ...OWN_PAGES].toSorted());
});

test("each path of the document → answers exactly its methods, and any other with 405", async () => {
  for (const [path, methods] of Object.entries(document.paths)) {
    const url = path.replaceAll(/\{\w+\}/g, randomUUID());
    const own = Object.keys(methods).map((method) => method.toUpperCase());
    const allowed = [...own, ...(own.includes("GET") ? ["HEAD"] : []), "OPTIONS"].toSorted();
    const options = await request("OPTIONS", url);
    expect({ path, allow: options.headers.get("allow") ?? "GET, HEAD, OPTIONS" }).toEqual({
      path,
      allow: allowed.join(", "),
    });
    for (const method of ["GET", "POST", "PUT", "PATCH", "DELETE"]) {
      const { status } = await request(method, url);
      expect({ path, method, refused: status === 405 }).toEqual({ path, method, refused: !own.includes(method) });
    }
  }
});

test("each operation of the document → is found: no 404 of the path", async () => {
  const operations = operationsOf(document);
  expect(operations.length).toBeGreaterThan(12);
  for (const { method, path } of operations) {
    const text = await (await request(method, path.replaceAll(/\{\w+\}/g, "something"))).text();
    expect({ method, path, text }).not.toMatchObject({ text: expect.stringContaining("unknown_route") });
  }
});

/** Files, whose bytes no document holds, and what vendors send: each is replayed by the tests of its own routes. */
const WITHOUT_EXAMPLE = [
  "POST /api/media",
  "POST /webhooks/twilio/inbound",
  "POST /webhooks/twilio/status",
  "POST /webhooks/vonage/inbound",
  "POST /webhooks/vonage/status",
];

test("each body of the document → has an example that is taken, and the answer fits its schema", async () => {
  const fits = createChecker(document);
  const { body: unknown } = await service.post("/api/phone/sms", {
    recipientPhone: "+33612340004",
    message: "Bonjour",
  });
  await settles(service, unknown.messageId, "unknown");
  // What the paths name; those that the answers name are added.
  const ids: Record<string, string> = { accountId: "of the examples", messageId: unknown.messageId };

  const bodies = operationsOf(document).flatMap((operation) =>
    Object.entries(operation.requestBody?.content ?? {}).map(([type, { example }]) => ({ operation, type, example })),
  );
  // WhatsApp wants a number to send from.
  const isPairing = ({ operation }: (typeof bodies)[number]): boolean => operation.path === "/api/whatsapp/sessions";
  bodies.sort((a, b) => Number(isPairing(b)) - Number(isPairing(a)));
  const without: string[] = [];
  for (const { operation, type, example } of bodies) {
    const { method, path } = operation;
    const what = `${method} ${path}`;
    if (example === undefined) {
      without.push(what);
      continue;
    }
    const target = path.replaceAll(/\{(\w+)\}/g, (_, name: string) => ids[name] ?? name);
    const isOfAccount = operation.parameters?.some(
      (each) => "name" in each && each.name === "accountId" && each.in === "query" && each.required,
    );
    const response = await fetch(service.url + target + (isOfAccount ? "?accountId=acc_456" : ""), {
      method,
      headers: { authorization: `Bearer ${SECRET}`, "content-type": type },
      body: type === "application/json" ? JSON.stringify(example) : (example as string),
    });
    const text = await response.text();
    expect({ what, type, refused: response.ok ? "" : text }).toEqual({ what, type, refused: "" });
    const answer = JSON.parse(text) as Record<string, string>;
    const { content, headers = {} } = responseOf(document, operation, response.status)!;
    const { schema } = content!["application/json"]!;
    expect({ what, location: response.headers.has("location") }).toEqual({ what, location: "Location" in headers });
    expect({ what, fault: fits(schema, answer) }).toEqual({ what, fault: undefined });
    // Lines and contacts that are not taken are no good example.
    expect({ what, faults: answer["faults"] ?? [] }).toEqual({ what, faults: [] });
    const { huntId, templateId, recurrenceId, endpointId, id: sessionId } = answer;
    Object.assign(
      ids,
      huntId && { huntId },
      templateId && { templateId },
      recurrenceId && { recurrenceId },
      endpointId && { endpointId },
      sessionId && { sessionId },
    );
  }
  expect([...new Set(without)].toSorted()).toEqual(WITHOUT_EXAMPLE);
  expect(bodies.length - without.length).toBeGreaterThan(25);
});

test("where an SMS is counted → the answer is the one that its example shows", async () => {
  const { requestBody, responses } = document.paths["/api/phone/sms/preview"]!["post"]!;
  const answer = await service.post("/api/phone/sms/preview", requestBody!.content["application/json"]!.example);
  expect(answer).toMatchObject({ status: 200, body: responses[200]!.content!["application/json"]!.example });
});

test("an endpoint's other routes → try it out, show it and delete it, as documented", async () => {
  const fits = createChecker(document);
  const call = async (method: string, path: string, status: number, ids: Record<string, string> = {}) => {
    const operation = operationsOf(document).find((each) => each.method === method && each.path === path)!;
    const response = await request(
      method,
      path.replaceAll(/\{(\w+)\}/g, (_, name: string) => ids[name] ?? ""),
    );
    const text = await response.text();
    expect({ method, path, status: response.status, text }).toMatchObject({ status });
    const answer = JSON.parse(text) as Record<string, string>;
    expect(fits(responseOf(document, operation, status)!.content!["application/json"]!.schema, answer)).toBeUndefined();
    return answer;
  };
  const list = "/api/webhook-endpoints";
  const accountId = await world.account();
  const { body } = await service.post(list, { accountId, url: "https://app.example.com/x" });
  const endpointId = body.endpointId as string;
  await call("GET", list, 200);
  await call("GET", `${list}/{endpointId}`, 200, { endpointId });
  const { deliveryId = "" } = await call("POST", `${list}/{endpointId}/test`, 202, { endpointId });
  await call("GET", `${list}/{endpointId}/deliveries`, 200, { endpointId });
  await call("GET", `${list}/{endpointId}/deliveries/{deliveryId}`, 200, { endpointId, deliveryId });
  await call("DELETE", `${list}/{endpointId}`, 200, { endpointId });
  await call("GET", "/api/accounts/{accountId}", 200, { accountId });
});

test("each answer that is not JSON → is of the type that is documented, and begins as its example does", async () => {
  await service.post("/api/suppressions", { phone: "+33612345678" });
  await service.post("/api/suppressions", { phone: "+33612345679" });
  for (const path of ["/api/suppressions/export", "/metrics"]) {
    const { content = {} } = document.paths[path]!["get"]!.responses[200]!;
    const { headers, body } = await service.get(path);
    const [type, { example }] = Object.entries(content)[0]!;
    expect({ path, type: headers.get("content-type") }).toEqual({ path, type: expect.stringContaining(`${type};`) });
    expect(body).toContain((example as string).slice(0, 16));
  }
  const { headers = {} } = document.paths["/api/suppressions/export"]!["get"]!.responses[200]!;
  const first = await service.get("/api/suppressions/export?limit=1");
  expect(Object.keys(headers).map((name) => first.headers.has(name))).toEqual([true]);
  const without = operationsOf(document).flatMap(({ path, responses }) =>
    Object.entries(responses).flatMap(([status, { content }]) => (/^20[0-3]/.test(status) && !content ? path : [])),
  );
  expect(without).toEqual([]);
});

test("a path that takes a file → lists its types, and how many bytes", () => {
  const { requestBody, parameters } = document.paths["/api/media"]!["post"]!;
  expect(requestBody).toMatchObject({ required: true });
  expect(Object.keys(requestBody!.content)).toEqual(expect.arrayContaining(["image/jpeg", "application/pdf"]));
  for (const [type, { schema }] of Object.entries(requestBody!.content)) {
    expect(schema).toEqual({ contentMediaType: type, maxLength: 16 * 1024 * 1024 });
  }
  expect(parameters?.map(({ name, required }) => [name, required])).toEqual([
    ["accountId", true],
    ["fileName", false],
  ]);
});

test("each example of an answer → fits its own schema", () => {
  const fits = createChecker(document);
  let seen = 0;
  const answers = [...operationsOf(document), { path: "shared", responses: document.components.responses }];
  for (const { path, responses } of answers) {
    for (const { content = {} } of Object.values(responses)) {
      for (const { schema, example } of Object.values(content)) {
        if (example === undefined) continue;
        seen += 1;
        expect({ path, fault: fits(schema, example) }).toEqual({ path, fault: undefined });
      }
    }
  }
  expect(seen).toBeGreaterThan(50);
});

test("each answer of an operation that has a body → has an example, and so has what it takes", () => {
  const missing = operationsOf(document).flatMap(({ method, path, requestBody, responses }) => {
    const taken = Object.entries(requestBody?.content ?? {}).filter(([type]) => type === "application/json");
    const given = Object.entries(responses).filter(([status]) => status.startsWith("2"));
    return [
      ...taken.map(([, content]) => content),
      ...given.flatMap(([, { content = {} }]) =>
        Object.entries(content).flatMap(([type, each]) => (type.startsWith("image/") ? [] : each)),
      ),
    ]
      .filter(({ schema, example }) => schema !== undefined && example === undefined)
      .map(() => `${method} ${path}`);
  });
  expect(missing.filter((each) => !each.includes("/webhooks/"))).toEqual([]);
});

test("each route that a guide names → is there", () => {
  const anyName = (route: string): string => route.replaceAll(/\{\w+\}/g, "{}");
  const known = new Set(operationsOf(document).map(({ method, path }) => anyName(`${method} ${path}`)));
  const guides = readdirSync(DOCS).map((file) => new URL(file, DOCS));
  const named = [...guides, new URL("../README.md", DOCS), new URL("../ARCHITECTURE.md", DOCS)].flatMap((file) => {
    const routes = readFileSync(file, "utf8").matchAll(/\b(?:GET|POST|PUT|PATCH|DELETE) \/[\w{}/.-]*[\w}]/g);
    return [...routes].map(([route]) => route);
  });
  expect(named.length).toBeGreaterThan(20);
  expect(named.filter((route) => !known.has(anyName(route)))).toEqual([]);
});

test("each body that is an object → takes no field that it does not name", () => {
  const bodies = operationsOf(document).flatMap(({ method, path, requestBody }) => {
    const schema = requestBody?.content["application/json"]?.schema;
    return schema?.type === "object" ? [{ route: `${method} ${path}`, more: schema["additionalProperties"] }] : [];
  });
  expect(bodies.length).toBeGreaterThan(10);
  expect(bodies.filter(({ more }) => more !== false)).toEqual([]);
});

/** Where `new ProblemError` stands, and the codes that it names. */
function problemsOfTheSource(): { places: number; codes: string[] } {
  let places = 0;
  const codes: string[] = [];
  for (const name of readdirSync(SOURCE, { recursive: true, encoding: "utf8" })) {
    // It only lends a name to those of `HTTP_PROBLEMS`.
    if (!name.endsWith(".ts") || name.endsWith("routes/problems.ts")) continue;
    const text = readFileSync(new URL(name, SOURCE), "utf8");
    places += text.match(/new ProblemError\(/g)?.length ?? 0;
    codes.push(...[...text.matchAll(/new ProblemError\(\{[^}]*?\bcode: "(\w+)"/g)].map(([, code]) => code!));
  }
  return { places, codes };
}

test("each problem code that the source can throw → is explained on /docs", async () => {
  const { places, codes } = problemsOfTheSource();
  expect(codes.length).toBe(places);
  expect(codes).toEqual(expect.arrayContaining(["unknown_account", "not_retryable", "not_unknown", "channel_off"]));
  const { body: page } = await service.get("/docs");
  for (const code of [...codes, ...Object.keys(HTTP_PROBLEMS)]) expect(page).toContain(`id="problem-${code}"`);
});

test("each problem code of the document → can be thrown", () => {
  const known = new Set([...problemsOfTheSource().codes, ...Object.keys(HTTP_PROBLEMS)]);
  const answers = [
    ...operationsOf(document).flatMap(({ responses }) => Object.values(responses)),
    ...Object.values(document.components.responses),
  ];
  const documented = new Set(answers.flatMap(({ "x-problem-codes": codes = {} }) => Object.keys(codes)));
  expect(documented.size).toBeGreaterThan(10);
  expect([...documented].filter((code) => !known.has(code))).toEqual([]);
});
