import { randomUUID } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { readdirSync, readFileSync } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { OpenApiDocument } from "../../src/routes/openapi.ts";
import { HTTP_PROBLEMS } from "../../src/routes/problems.ts";
import { createChecker, operationsOf, responseOf } from "../helpers/fuzz-schema.ts";
import { settles } from "../helpers/hunts.ts";
import { openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";

const SOURCE = new URL("../../src/", import.meta.url);
/** The document does not describe the pages that describe it. */
const OWN_PAGES = ["/docs", "/openapi.json"];

let world: World;
let service: TestService;
let document: OpenApiDocument;

beforeAll(async () => {
  world = await openWorld();
  service = await world.start();
  document = (await service.get("/openapi.json")).body;
  await world.sql.query("insert into accounts (id) values ('acc_456')");
});
afterAll(() => world[Symbol.asyncDispose]());

const request = (method: string, path: string): Promise<Response> =>
  fetch(service.url + path, { method, headers: { authorization: `Bearer ${SECRET}` } });

/** Of the Express application that answers: Node names the server with each request. */
async function pathsOfTheRouter(): Promise<string[]> {
  const servers: Server[] = [];
  const note = (message: unknown): void => void servers.push((message as { server: Server }).server);
  subscribe("http.server.request.start", note);
  await service.get("/health");
  unsubscribe("http.server.request.start", note);
  const { port } = new URL(service.url);
  const server = servers.find((each) => String((each.address() as AddressInfo | null)?.port) === port);
  const app = server?.listeners("request")[0] as unknown as { router: { stack: { route?: { path: string } }[] } };
  return app.router.stack.flatMap(({ route }) => (route ? [route.path] : []));
}

test("the document → describes exactly the paths that the router has", async () => {
  const documented = Object.keys(document.paths).map((path) => path.replaceAll(/\{(\w+)\}/g, ":$1"));
  expect((await pathsOfTheRouter()).toSorted()).toEqual([...documented, ...OWN_PAGES].toSorted());
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

describe("each body example of the document", () => {
  test("where something is sent → 202, and the answer fits its schema", async () => {
    const fits = createChecker(document);
    const sending = operationsOf(document).filter(({ requestBody, responses }) => requestBody && responses[202]);
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

  test("where something is settled → 200", async () => {
    const others = operationsOf(document).filter(
      ({ requestBody, responses }) => requestBody?.content["application/json"] && !responses[202],
    );
    expect(others.map(({ path }) => path)).toEqual(["/api/messages/{messageId}/resolve"]);
    const { body } = await service.post("/api/phone/sms", { recipientPhone: "+33612340004", message: "Bonjour" });
    await settles(service, body.messageId, "unknown");
    const { path, requestBody } = others[0]!;
    const url = path.replace("{messageId}", body.messageId);
    expect(await service.post(url, requestBody!.content["application/json"]!.example)).toMatchObject({ status: 200 });
  });
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
