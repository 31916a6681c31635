import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { OpenApiDocument } from "../../src/routes/openapi.ts";
import { HTTP_PROBLEMS } from "../../src/routes/problems.ts";
import { createChecker, operationsOf, responseOf } from "../helpers/fuzz-schema.ts";
import { settles } from "../helpers/hunts.ts";
import { pathsOfTheRouter } from "../helpers/router.ts";
import { openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";
import { WEBHOOKS } from "../helpers/sms-vendors.ts";
import { ENCRYPTION_KEY } from "../helpers/whatsapp.ts";

const SOURCE = new URL("../../src/", import.meta.url);
/** The document does not describe the pages that describe it. */
const OWN_PAGES = ["/docs", "/openapi.json"];

let world: World;
let service: TestService;
let document: OpenApiDocument;

beforeAll(async () => {
  world = await openWorld();
  // What the examples name is nowhere to be found.
  service = await world.start(WEBHOOKS, { fetchPolicy: { lookup: async () => [] } });
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

const SESSIONS = "/api/whatsapp/sessions";

describe("each body example of the document", () => {
  test("where a number is paired → 202, and its settings → 200", async () => {
    const fits = createChecker(document);
    const exampleOf = (path: string) =>
      document.paths[path]!["post"]!.requestBody!.content["application/json"]!.example;
    await using other = await openWorld();
    const pairing = await other.start({
      WHATSAPP_ENCRYPTION_KEY: ENCRYPTION_KEY,
      // Nobody answers there: pairing goes on trying.
      WHATSAPP_WS_URL: "ws://127.0.0.1:1/",
    });
    const { accountId: _, ...example } = exampleOf(SESSIONS) as { accountId: string };
    const { status, body } = await pairing.post(SESSIONS, { accountId: await other.account(), ...example });
    expect(status).toBe(202);
    const settings = `${SESSIONS}/{sessionId}/settings`;
    const set = await pairing.post(settings.replace("{sessionId}", body.id), exampleOf(settings));
    expect(set.status).toBe(200);
    const operation = operationsOf(document).find(({ path }) => path === settings)!;
    expect(fits(responseOf(document, operation, 200)!.content!["application/json"]!.schema, set.body)).toBeUndefined();
  });

  test("where something is sent → 202, and the answer fits its schema", async () => {
    const fits = createChecker(document);
    const sending = operationsOf(document).filter(
      ({ path, requestBody, responses }) => requestBody && responses[202] && !path.startsWith(SESSIONS),
    );
    expect(sending.map(({ path }) => path).toSorted()).toEqual([
      "/api/hunt/execute",
      "/api/phone/ringless-voice",
      "/api/phone/sms",
      "/api/whatsapp/audio",
      "/api/whatsapp/contact",
      "/api/whatsapp/document",
      "/api/whatsapp/image",
      "/api/whatsapp/location",
      "/api/whatsapp/poll",
      "/api/whatsapp/text",
      "/api/whatsapp/video",
    ]);
    for (const operation of sending) {
      const answer = await service.post(operation.path, operation.requestBody!.content["application/json"]!.example);
      expect(answer, operation.path).toMatchObject({ status: 202 });
      const { schema } = responseOf(document, operation, 202)!.content!["application/json"]!;
      expect(fits(schema, answer.body)).toBeUndefined();
    }
  });

  test("where an SMS is counted → 200, as its own example shows", async () => {
    const { requestBody, responses } = document.paths["/api/phone/sms/preview"]!["post"]!;
    const answer = await service.post("/api/phone/sms/preview", requestBody!.content["application/json"]!.example);
    expect(answer).toMatchObject({ status: 200, body: responses[200]!.content!["application/json"]!.example });
  });

  test("where a hunt is given another time → 200, and the answer fits its schema", async () => {
    const fits = createChecker(document);
    const { example } = document.paths["/api/hunt/execute"]!["post"]!.requestBody!.content["application/json"]!;
    const { body: hunt } = await service.post("/api/hunt/execute", example);
    const path = "/api/hunts/{huntId}";
    const operation = operationsOf(document).find((each) => each.path === path && each.method === "PATCH")!;
    const response = await fetch(service.url + path.replace("{huntId}", hunt.huntId), {
      method: "PATCH",
      headers: { authorization: `Bearer ${SECRET}`, "content-type": "application/json" },
      body: JSON.stringify(operation.requestBody!.content["application/json"]!.example),
    });
    expect(response.status).toBe(200);
    const { schema } = responseOf(document, operation, 200)!.content!["application/json"]!;
    expect(fits(schema, await response.json())).toBeUndefined();
  });

  test("where something is settled → 200", async () => {
    const others = operationsOf(document).filter(
      ({ path, requestBody, responses }) =>
        requestBody?.content["application/json"] &&
        !responses[202] &&
        !path.startsWith(SESSIONS) &&
        !/^\/webhooks|preview$|^\/api\/(accounts|hunts|templates|recurrences|webhook-endpoints)/.test(path),
    );
    expect(others.map(({ path }) => path)).toEqual(["/api/suppressions", "/api/messages/{messageId}/resolve"]);
    const list = others.shift()!;
    const entry = await service.post(list.path, list.requestBody!.content["application/json"]!.example);
    expect(entry).toMatchObject({ status: 200 });
    const { body } = await service.post("/api/phone/sms", { recipientPhone: "+33612340004", message: "Bonjour" });
    await settles(service, body.messageId, "unknown");
    const { path, requestBody } = others[0]!;
    const url = path.replace("{messageId}", body.messageId);
    expect(await service.post(url, requestBody!.content["application/json"]!.example)).toMatchObject({ status: 200 });
  });
});

test("an account's routes → make it, change it and give it credits, as their own examples show", async () => {
  const of = operationsOf(document).filter(({ path }) => path.startsWith("/api/accounts"));
  for (const method of ["PUT", "PATCH", "POST", "GET"]) {
    const operation = of.find((each) => each.method === method)!;
    const body = operation.requestBody?.content["application/json"]?.example;
    const response = await fetch(service.url + operation.path.replace("{accountId}", "of the examples"), {
      method,
      headers: { authorization: `Bearer ${SECRET}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    expect({ method, status: response.status }).toEqual({ method, status: 200 });
    const { schema } = responseOf(document, operation, 200)!.content!["application/json"]!;
    expect(createChecker(document)(schema, await response.json())).toBeUndefined();
  }
});

test("a hunt's preview, a template and a recurrence → as their own examples show", async () => {
  const fits = createChecker(document);
  for (const [path, status] of [
    ["/api/hunt/preview", 200],
    ["/api/templates", 201],
    ["/api/recurrences", 201],
  ] as const) {
    const operation = operationsOf(document).find((each) => each.path === path && each.method === "POST")!;
    const answer = await service.post(path, operation.requestBody!.content["application/json"]!.example);
    expect({ path, status: answer.status }).toEqual({ path, status });
    const { schema } = responseOf(document, operation, status)!.content!["application/json"]!;
    expect(fits(schema, answer.body)).toBeUndefined();
  }
});

test("an endpoint's routes → make it, change it and try it out, as their own examples show", async () => {
  const fits = createChecker(document);
  const call = async (method: string, path: string, status: number, ids: Record<string, string> = {}) => {
    const operation = operationsOf(document).find((each) => each.method === method && each.path === path)!;
    const body = operation.requestBody?.content["application/json"]?.example;
    const response = await fetch(service.url + path.replaceAll(/\{(\w+)\}/g, (_, name: string) => ids[name] ?? ""), {
      method,
      headers: {
        authorization: `Bearer ${SECRET}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    expect({ method, path, status: response.status, text }).toMatchObject({ status });
    const answer = JSON.parse(text) as Record<string, string>;
    expect(fits(responseOf(document, operation, status)!.content!["application/json"]!.schema, answer)).toBeUndefined();
    return answer;
  };
  const list = "/api/webhook-endpoints";
  const { endpointId = "" } = await call("POST", list, 201);
  await call("GET", list, 200);
  await call("PATCH", `${list}/{endpointId}`, 200, { endpointId });
  await call("POST", `${list}/{endpointId}/rotate`, 200, { endpointId });
  const { deliveryId = "" } = await call("POST", `${list}/{endpointId}/test`, 202, { endpointId });
  await call("GET", `${list}/{endpointId}/deliveries`, 200, { endpointId });
  await call("GET", `${list}/{endpointId}/deliveries/{deliveryId}`, 200, { endpointId, deliveryId });
  await call("DELETE", `${list}/{endpointId}`, 200, { endpointId });
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
  for (const { path, responses } of operationsOf(document)) {
    for (const { content = {} } of Object.values(responses)) {
      for (const { schema, example } of Object.values(content)) {
        if (example === undefined) continue;
        seen += 1;
        expect({ path, fault: fits(schema, example) }).toEqual({ path, fault: undefined });
      }
    }
  }
  expect(seen).toBeGreaterThan(0);
});

test("each answer of an operation that has a body → has an example, and so has what it takes", () => {
  const missing = operationsOf(document).flatMap(({ method, path, requestBody, responses }) => {
    const taken = Object.entries(requestBody?.content ?? {}).filter(([type]) => type === "application/json");
    const given = Object.entries(responses).filter(([status]) => status.startsWith("2"));
    return [...taken.map(([, content]) => content), ...given.flatMap(([, { content = {} }]) => Object.values(content))]
      .filter(({ schema, example }) => schema !== undefined && example === undefined)
      .map(() => `${method} ${path}`);
  });
  expect(missing.filter((each) => !each.includes("/webhooks/"))).toEqual([]);
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
