import { randomInt, randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { exchange, rawRequest } from "../helpers/fuzz-raw.ts";
import { huntId, messagesOf, phone, run, settles } from "../helpers/hunts.ts";
import { contact, openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";

const MAX_BODY_BYTES = 100_000;
const JSON_HEADERS = { authorization: `Bearer ${SECRET}`, "content-type": "application/json" };

let world: World;
let service: TestService;

beforeAll(async () => {
  world = await openWorld();
  service = await world.start({ MAX_BODY_BYTES: String(MAX_BODY_BYTES) });
});
afterAll(() => world[Symbol.asyncDispose]());

let last = 0;
const anybody = (): string => phone((last += 1));

describe("API3:2023 mass assignment", () => {
  /** Everything that the ledger, a job or the planner knows by name. */
  const PRIVILEGES = {
    status: "sent",
    credit: "none",
    copy: 7,
    attempts: 99,
    id: randomUUID(),
    messageId: randomUUID(),
    seq: 1,
    queue: "voice",
    priority: 7,
    skip: "suppressed",
    code: "chosen",
    detail: "chosen",
    retryable: true,
    provider: "chosen",
    provider_message_id: "chosen",
    attempt_id: randomUUID(),
    sent_at: "2020-01-01T00:00:00Z",
    content: { text: "another text" },
    recipient: "+33600000000",
    account_id: "acc_of_somebody",
    outcome: { result: "sent" },
    held_until: "2099-01-01T00:00:00Z",
  };

  const rowOf = async (id: string) => (await world.sql.query("select * from messages where id = $1", [id])).rows[0];

  test("a hunt, a contact or a single send brings the ledger's own fields along → refused, and nobody is contacted", async () => {
    const accountId = await world.account();
    const to = anybody();
    const person = contact({ adId: "ad", recipientPhone: to });
    const { priority: _, ...ofHunt } = PRIVILEGES;
    const hunt = { huntId: huntId(), accountId };
    const answers = [
      await service.post("/api/hunt/execute", { ...hunt, contacts: [{ ...person, ...PRIVILEGES }] }),
      await service.post("/api/hunt/execute", { ...hunt, ...ofHunt, jobId: randomUUID(), contacts: [person] }),
      await service.post("/api/phone/sms", { ...PRIVILEGES, recipientPhone: to, message: "Bonjour" }),
    ];
    for (const { status, body } of answers) {
      expect(status).toBe(400);
      expect(body.errors.length).toBeGreaterThanOrEqual(20);
      expect(new Set(body.errors.map(({ detail }: { detail: string }) => detail))).toEqual(
        new Set(["is not a known field"]),
      );
    }
    const { rows } = await world.sql.query("select 1 from messages where account_id = $1 or recipient = $2", [
      accountId,
      to,
    ]);
    expect(rows).toEqual([]);
  });

  test("settling and retrying bring them along → only what is documented is done", async () => {
    const { body } = await service.post("/api/phone/sms", { recipientPhone: "+33612340004", message: "Bonjour" });
    await settles(service, body.messageId, "unknown");
    const resolve = (fields: object) =>
      service.post(`/api/messages/${body.messageId}/resolve`, { as: "not_sent", ...fields });
    expect(await resolve(PRIVILEGES)).toMatchObject({ status: 400 });
    expect(await rowOf(body.messageId)).toMatchObject({ status: "unknown" });
    await resolve({});
    expect(await rowOf(body.messageId)).toMatchObject({ status: "failed", code: "resolved_not_sent", attempts: 1 });
    await service.post(`/api/jobs/sms/${body.messageId}/retry`, { ...PRIVILEGES, to: "+33600000000" });
    await settles(service, body.messageId, "unknown");
    expect(await rowOf(body.messageId)).toMatchObject({ recipient: "+33612340004", attempts: 2 });
  });
});

describe("API4:2023 unrestricted resource consumption", () => {
  async function nothingWasTaken<T>(run: () => Promise<T>): Promise<T> {
    const count =
      "select (select count(*) from messages) + (select count(*) from hunts) + (select count(*) from hunt_chunks) as n";
    const before = (await world.sql.query(count)).rows[0].n;
    const result = await run();
    expect((await world.sql.query(count)).rows[0].n).toBe(before);
    return result;
  }

  test.each([
    ["plain", Buffer.alloc(MAX_BODY_BYTES + 1, " "), {}],
    ["packed, a thousandth of its size", gzipSync(Buffer.alloc(50 * 1024 * 1024)), { "content-encoding": "gzip" }],
    ["a list of numbers in place of contacts", Buffer.from(`{"contacts":[${"0,".repeat(MAX_BODY_BYTES)}0]}`), {}],
  ])("a body over the limit, %s → 413, nothing is taken", async (_, body, headers) => {
    const answer = await nothingWasTaken(() =>
      rawRequest(service.url, {
        method: "POST",
        target: "/api/hunt/execute",
        headers: { ...JSON_HEADERS, ...headers },
        body,
      }),
    );
    expect(answer.status).toBe(413);
    expect(answer.text.length).toBeLessThan(1000);
  });

  test("a body that says it is longer than anything → 413 before it is read", async () => {
    const head = `POST /api/phone/sms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${SECRET}\r\nContent-Type: application/json\r\n`;
    expect(await exchange(service.url, `${head}Content-Length: 999999999999\r\n\r\n{`)).toMatch(/^HTTP\/1\.1 413 /);
  });

  test("thousands of contacts with faults → 400, each with its pointer, in an answer of bounded size", async () => {
    const contacts = Array.from({ length: 5000 }, () => ({}));
    const body = { huntId: huntId(), accountId: await world.account(), contacts };
    const answer = await nothingWasTaken(() => service.post("/api/hunt/execute", body));
    expect(answer.status).toBe(400);
    expect(answer.body.errors).toHaveLength(15_000);
    expect(JSON.stringify(answer.body).length).toBeLessThan(15_000 * 80);
  });

  test.each(["0", "-1", "1001", "1e9", "1.5", "NaN", "Infinity", "", "0x10000", "1&limit=1"])(
    "limit=%s → 400 on every list",
    async (limit) => {
      for (const list of [
        `/api/messages?status=failed&limit=${limit}`,
        `/api/hunt/${huntId()}/messages?limit=${limit}`,
      ]) {
        expect(await service.get(list)).toMatchObject({ status: 400, body: { errors: [{ pointer: "/query/limit" }] } });
      }
    },
  );

  test("an Idempotency-Key of 255 characters is taken, one of 256 is not", async () => {
    const send = (length: number) =>
      service.post(
        "/api/phone/sms",
        { recipientPhone: anybody(), message: "Bonjour" },
        { "idempotency-key": "k".repeat(length) },
      );
    expect((await send(255)).status).toBe(202);
    expect(await nothingWasTaken(() => send(256))).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: "/header/Idempotency-Key" }] },
    });
  });

  test("ids longer than any real one → 400 by their pointer", async () => {
    const long = "x".repeat(201);
    const hunt = { huntId: long, accountId: long, contacts: [contact({ adId: long, recipientPhone: long })] };
    const { status, body } = await service.post("/api/hunt/execute", hunt);
    expect(status).toBe(400);
    expect(body.errors.map(({ pointer }: { pointer: string }) => pointer).toSorted()).toEqual([
      "/accountId",
      "/contacts/0/adId",
      "/contacts/0/recipientPhone",
      "/huntId",
    ]);
    for (const path of [
      `/api/messages/${long}`,
      `/api/hunt/status/${long}`,
      `/api/jobs/sms/${long}`,
      `/api/hunt/${long}/messages`,
    ]) {
      expect((await service.get(path)).status).toBe(400);
    }
  });

  test("guessing the operator's secret → 429 after five attempts, whatever address is claimed, and even when right", async () => {
    await using fresh = await openWorld();
    const guessed = await fresh.start();
    const { url } = guessed;
    // Until Redis is there, each process counts for itself.
    await expect.poll(async () => (await guessed.get("/ready")).status).toBe(200);
    const login = (secret: string, address: string) =>
      fetch(`${url}/admin/login`, {
        method: "POST",
        redirect: "manual",
        headers: { "x-forwarded-for": address, "x-real-ip": address, forwarded: `for=${address}` },
        body: new URLSearchParams({ secret }),
      });
    for (let n = 1; n <= 5; n++) expect((await login("wrong", `203.0.113.${n}`)).status).toBe(401);
    const refused = await login(SECRET, "198.51.100.1");
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(refused.headers.get("set-cookie")).toBeNull();
  });
});

describe("API7:2023 server side request forgery", () => {
  const connections: number[] = [];
  const listener = createServer((socket) => {
    connections.push(1);
    socket.destroy();
  });
  /** An address of its own on loopback, as the port is one of the few that a recording may be at. */
  const host = `127.${randomInt(1, 255)}.${randomInt(255)}.${randomInt(1, 255)}`;
  const port = 8080;

  beforeAll(async () => {
    listener.listen(port, host);
    await once(listener, "listening");
  });
  afterAll(() => void listener.close());
  beforeEach(() => void connections.splice(0));

  const voice = (audioUrl: string) =>
    service.post("/api/phone/ringless-voice", { recipientPhone: anybody(), audioUrl });

  test("the listener of this test → does hear who calls it", async () => {
    await fetch(`http://${host}:${port}/`).catch(() => undefined);
    await expect.poll(() => connections.length).toBe(1);
  });

  test("a recording at a name → its message is sent to the end, and this service fetches nothing", async () => {
    const audioUrl = `http://${host}.nip.io:${port}/latest/meta-data`;
    const { body } = await voice(audioUrl);
    await settles(service, body.messageId, "delivered");
    const accountId = await world.account();
    const contacts = [contact({ channel: "ringless_voice", recipientPhone: anybody(), audioUrl, message: undefined })];
    const { huntId: id } = await run(service, { accountId, contacts });
    expect(await messagesOf(service, id)).toMatchObject([{ code: null, attempts: 1 }]);
    expect(connections).toEqual([]);
  });

  test.each([
    "file:///etc/passwd",
    "ftp://example.com/a.mp3",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "data:audio/mpeg;base64,AAAA",
    "javascript:alert(1)",
    "dict://127.0.0.1:6379/info",
    "jar:http://example.com!/a",
    "//example.com/a.mp3",
    "/etc/passwd",
    "http://",
    "http://[::1",
    "not a url",
    "http://127.0.0.1/a.mp3",
    "http://localhost/a.mp3",
    "http://2130706433/a.mp3",
    "http://0x7f.1/a.mp3",
    "http://017700000001/a.mp3",
    "http://[::ffff:127.0.0.1]/a.mp3",
    "http://user:pass@cdn.example.com/a.mp3",
    "http://cdn.example.com:6379/a.mp3",
  ])("a recording at %s → 400, as a single send and in a hunt", async (audioUrl) => {
    expect(await voice(audioUrl)).toMatchObject({ status: 400, body: { errors: [{ pointer: "/audioUrl" }] } });
    const contacts = [contact({ channel: "ringless_voice", audioUrl, message: undefined })];
    expect(
      await service.post("/api/hunt/execute", { huntId: huntId(), accountId: await world.account(), contacts }),
    ).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: "/contacts/0/audioUrl" }] },
    });
  });

  test("absolute targets, Host and X-Forwarded-Host of elsewhere → answered from here, nothing is fetched", async () => {
    const elsewhere = `${host}:${port}`;
    const headers = { host: elsewhere, "x-forwarded-host": elsewhere, authorization: `Bearer ${SECRET}` };
    const answers = [
      await rawRequest(service.url, { method: "GET", target: `http://${elsewhere}/health`, headers }),
      await rawRequest(service.url, { method: "GET", target: "/health", headers }),
      await rawRequest(service.url, { method: "GET", target: "/admin", headers: { ...headers, accept: "text/html" } }),
    ];
    for (const { headers: given, text } of answers) {
      expect(JSON.stringify(given) + text).not.toContain(elsewhere);
    }
    expect(answers[2]?.headers["location"]).toBe("/admin/login");
    expect(connections).toEqual([]);
  });
});

describe("injection", () => {
  const SQL = [
    "'; drop table messages; --",
    "' or '1'='1",
    `") or 1=1 --`,
    "1; select pg_sleep(10)",
    "eq.1",
    "id.eq.1)",
    "$$; delete from messages; $$",
    "*",
    "%",
    "\\",
    "a,b",
    "a.b",
    "(select 1)",
    "null",
    "is.null",
  ];

  test.each(SQL)("%j in an id, a cursor or a filter → is a text like any other", async (text) => {
    const accountId = await world.account();
    const to = anybody();
    const own = await run(service, {
      huntId: `${text} ${randomUUID()}`,
      accountId,
      contacts: [contact({ adId: text, recipientPhone: to })],
    });
    expect(await messagesOf(service, own.huntId)).toMatchObject([
      { adId: text, recipientPhone: to, huntId: own.huntId },
    ]);

    const before = (await world.sql.query("select count(*) as n from messages")).rows[0].n;
    const segment = encodeURIComponent(text);
    expect((await service.get(`/api/hunt/${segment}/messages`)).status).toBe(404);
    expect((await service.get(`/api/messages/${segment}`)).status).toBe(404);
    expect((await service.get(`/api/hunt/status/${segment}`)).status).toBe(404);
    expect((await service.get(`/api/jobs/sms/${segment}`)).status).toBe(404);
    expect((await service.get(`/api/messages?status=failed&cursor=${segment}`)).status).toBe(400);
    expect((await service.get(`/api/messages?status=${segment}`)).status).toBe(400);
    expect(await service.get(`/api/messages?status=failed&accountId=${segment}`)).toMatchObject({
      status: 200,
      body: { messages: [] },
    });
    const unknown = { huntId: huntId(), accountId: text, contacts: [contact()] };
    expect(await service.post("/api/hunt/execute", unknown)).toMatchObject({ status: 422 });
    expect(
      await service.post("/api/phone/sms", { recipientPhone: to, message: text }, { "idempotency-key": text }),
    ).toMatchObject({
      status: 202,
    });
    expect((await world.sql.query("select count(*) as n from messages")).rows[0].n).toBe(String(Number(before) + 1));
  });

  test("a query parameter that is one of the database's own → 400", async () => {
    for (const name of ["select", "order", "or", "and", "offset", "account_id", "on_conflict", "columns"]) {
      expect(await service.get(`/api/messages?status=failed&${name}=id`)).toMatchObject({
        status: 400,
        body: { errors: [{ pointer: `/query/${name}` }] },
      });
    }
  });

  const LINES = "x\r\nSet-Cookie: stolen=1\r\n\r\n<script>";

  test.each([
    "x\r\nSet-Cookie: stolen=1",
    encodeURIComponent(LINES),
    "%0d%0aSet-Cookie:%20stolen=1",
    "x\u2028Set-Cookie: stolen=1",
  ])("%j in an X-Request-Id, over the socket → no header of its own, and another id", async (text) => {
    const answer = await exchange(
      service.url,
      Buffer.from(`GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: ${text}\r\n\r\n`),
    );
    expect(answer).not.toMatch(/^set-cookie/im);
    // A line break ends the header: what stands before it is a fair id.
    expect(answer).toMatch(/^X-Request-Id: (?:x|[\da-f-]{36})\r$/m);
  });

  test("line breaks in ids that come back in Location or a body → 400, or harmless", async () => {
    const accountId = await world.account();
    const hunt = { huntId: `hunt\r\nSet-Cookie: stolen=1`, accountId, contacts: [contact()] };
    expect(await service.post("/api/hunt/execute", hunt)).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: "/huntId" }] },
    });

    const accepted = await service.post("/api/hunt/execute", { ...hunt, huntId: `hunt/../${randomUUID()}?a=b#c` });
    expect(accepted.headers.get("location")).toMatch(/^\/api\/hunt\/status\/[\da-f-]{36}$/);
    const sent = await service.post("/api/phone/sms", { recipientPhone: anybody(), message: LINES });
    expect(sent.headers.get("location")).toMatch(/^\/api\/messages\/[\da-f-]{36}$/);

    const segment = encodeURIComponent(LINES);
    for (const path of [
      `/api/jobs/sms/${segment}`,
      `/api/messages/${segment}`,
      `/api/queues/${segment}/stats`,
      `/api/${segment}`,
    ]) {
      const answer = await service.get(path);
      expect(answer.status).toBe(404);
      expect(answer.headers.get("set-cookie")).toBeNull();
      expect(answer.headers.get("content-type")).toContain("application/problem+json");
    }
  });
});
