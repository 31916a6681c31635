import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createLogger } from "../../src/core/logger.ts";
import { rawRequest } from "../helpers/fuzz-raw.ts";
import { finished, huntId, phone, run, settles, submit } from "../helpers/hunts.ts";
import { ambiguous, notSent, scriptedProvider, type Script, type ScriptedProvider } from "../helpers/scripted.ts";
import { contact, openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";
import { PermanentError, TransientError } from "../../src/core/errors.ts";

let world: World;
let service: TestService;
let provider: ScriptedProvider;
/** As the service writes it in production, at its most talkative. */
const lines: string[] = [];
const scripts = new Map<string, Script>();

const log = () => createLogger({ level: "debug", destination: { write: (line: string) => void lines.push(line) } });

beforeAll(async () => {
  world = await openWorld();
  provider = scriptedProvider((request, signal) => {
    const script = scripts.get(request.to);
    return script ? script(request, signal) : { providerMessageId: `scripted:${request.attemptId}` };
  });
  service = await world.start({}, { log: log(), providers: { sms: provider } });
});
afterAll(() => world[Symbol.asyncDispose]());

const authorized = { authorization: `Bearer ${SECRET}` };

describe("API8:2023 security misconfiguration", () => {
  const ANSWERS: [string, string, Record<string, string>][] = [
    ["GET", "/health", {}],
    ["GET", "/docs", {}],
    ["GET", "/openapi.json", {}],
    ["GET", "/api/queues/stats", authorized],
    ["GET", "/api/queues/stats", {}],
    ["GET", "/api/nothing", authorized],
    ["GET", "/nothing", {}],
    ["GET", "/%zz", {}],
    ["POST", "/health", {}],
    ["GET", "/metrics", authorized],
    ["GET", "/admin/login", {}],
    ["GET", "/admin/queues", { accept: "text/html" }],
    ["POST", "/admin/login", {}],
    ["OPTIONS", "/api/phone/sms", authorized],
    ["HEAD", "/health", {}],
  ];

  test.each(ANSWERS)(
    "%s %s → carries the security headers, and says nothing of what runs it",
    async (method, target, headers) => {
      const answer = await rawRequest(service.url, { method, target, headers });
      expect(answer.headers).toMatchObject({
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": expect.stringMatching(/^(no-referrer|same-origin)$/),
        "content-security-policy": expect.stringContaining("default-src 'none'"),
        "x-request-id": expect.any(String),
      });
      expect(answer.headers["content-security-policy"]).toContain("frame-ancestors 'none'");
      for (const name of ["x-powered-by", "server", "etag", "via"]) expect(answer.headers).not.toHaveProperty(name);
      if (target.startsWith("/api")) expect(answer.headers["cache-control"]).toBe("no-store");
    },
  );

  test.each([
    ["GET", "/api/hunt/%ff/messages", ""],
    ["GET", "/api/messages/%00", ""],
    ["POST", "/api/phone/sms", '{"message": "Bonjour", }'],
    ["POST", "/api/phone/sms", '{"__proto__": {"admin": true}}'],
    ["POST", "/api/hunt/execute", '{"contacts": {"length": 1e9}}'],
    ["GET", "/api/messages?status=failed&cursor=999999999999999999", ""],
    ["PUT", "/admin/queues/api/queues/pause", ""],
    ["GET", "/admin/queues/static/..%2f..%2fpackage.json", ""],
  ])("%s %s that goes wrong → no stack, path, query or library in the answer", async (method, target, body) => {
    const headers = { ...authorized, "content-type": "application/json" };
    const { text } = await rawRequest(service.url, { method, target, headers, body: Buffer.from(body) });
    expect(text).not.toMatch(
      /\bat .+:\d+:\d+|node_modules|\/work\/|\.ts\b|express|bullmq|ioredis|zod|postgres|pgrst|supabase|select .+ from/i,
    );
  });

  test.each(["TRACE", "PROPFIND", "PUT", "PATCH", "DELETE", "REPORT", "LOCK", "SEARCH"])(
    "%s on a path that does not know it → 405, without an echo of the request",
    async (method) => {
      for (const target of ["/api/phone/sms", "/health"]) {
        const answer = await rawRequest(service.url, {
          method,
          target,
          headers: { ...authorized, "x-echo": "heard-it" },
        });
        expect(answer.status).toBe(405);
        expect(answer.headers["allow"]).toBeDefined();
        expect(answer.text).not.toMatch(/heard-it|Bearer/);
      }
    },
  );

  test("a method in a header or the query → does not override the real one", async () => {
    const headers = {
      ...authorized,
      "x-http-method-override": "POST",
      "x-http-method": "POST",
      "x-method-override": "POST",
    };
    const answer = await rawRequest(service.url, { method: "GET", target: "/api/phone/sms?_method=POST", headers });
    expect(answer.status).toBe(405);
  });

  test("a page of another site → gets no CORS header, neither asked beforehand nor with the answer", async () => {
    const headers = {
      ...authorized,
      origin: "https://evil.example",
      "access-control-request-method": "POST",
      "access-control-request-headers": "authorization",
    };
    for (const [method, target] of [
      ["OPTIONS", "/api/phone/sms"],
      ["OPTIONS", "/health"],
      ["GET", "/api/queues/stats"],
      ["GET", "/health"],
      ["GET", "/openapi.json"],
    ]) {
      const answer = await rawRequest(service.url, { method: method as string, target: target as string, headers });
      expect(Object.keys(answer.headers).filter((name) => name.startsWith("access-control-"))).toEqual([]);
    }
    const { authorization: _, ...stranger } = headers;
    expect(
      (await rawRequest(service.url, { method: "OPTIONS", target: "/api/phone/sms", headers: stranger })).status,
    ).toBe(401);
  });

  test.each([
    "/.env",
    "/.git/config",
    "/package.json",
    "/src/index.ts",
    "/docs/../package.json",
    "/docs/..%2f.env",
    "/debug",
    "/console",
    "/actuator",
    "/phpinfo.php",
    "/api-docs",
    "/graphql",
    "/admin/queues/static/..%2f..%2f..%2fpackage.json",
  ])("GET %s → is nothing here", async (target) => {
    const { status, text } = await rawRequest(service.url, { method: "GET", target });
    expect([401, 404]).toContain(status);
    expect(text).not.toMatch(/auto-prospect\/worker|API_SECRET/);
  });

  test("the session of an operator → HttpOnly, SameSite=Strict, for /admin alone", async () => {
    const body = new URLSearchParams({ secret: SECRET });
    const login = await fetch(`${service.url}/admin/login`, { method: "POST", redirect: "manual", body });
    expect(login.headers.get("set-cookie")).toMatch(
      /^auto_prospect_admin=[\w.-]+; Path=\/admin; HttpOnly; SameSite=Strict; Max-Age=\d+$/,
    );
    expect(login.headers.get("set-cookie")).not.toContain(SECRET);
  });
});

/** The message that a test sends, and what must not be seen of it anywhere. */
const TEXT = "Bonjour Madame Berthelot, votre maison bleue";

describe("API10:2023 unsafe consumption of what a provider says", () => {
  const HOSTILE = [
    "The 'To' number +33612007007 is not valid",
    "<script>alert(document.cookie)</script>",
    "\r\nSet-Cookie: stolen=1\r\n\u001b[31m\u0000",
    "see https://AC0123:auth-token-of-vendor@api.vendor.example/v1",
    '{"level":"fatal","msg":"forged"}',
  ].join("\n");
  const PRIVATE = ["+33612007007", "auth-token-of-vendor", TEXT];
  const fields = { code: "vendor_said", provider: "scripted" };

  const WAYS: [string, () => unknown, string][] = [
    ["refuses for good", () => new PermanentError(HOSTILE, fields), "failed"],
    ["is not reached", () => new TransientError(HOSTILE, { ...fields, delivery: "not_sent" }), "failed"],
    [
      "breaks off",
      () => new TransientError(HOSTILE, { ...fields, delivery: "unknown", cause: new Error(HOSTILE) }),
      "unknown",
    ],
    [
      "throws its client's own error",
      () =>
        Object.assign(new Error(HOSTILE), { config: { data: TEXT }, response: { body: TEXT, headers: authorized } }),
      "unknown",
    ],
    ["throws a text", () => HOSTILE, "unknown"],
    ["answers with an object", () => ({ message: HOSTILE, to: "+33612007007", body: TEXT }), "unknown"],
  ];

  test.each(WAYS)(
    "a provider that %s, quoting everything → not in the log, nor in any answer",
    async (_, error, status) => {
      const from = lines.length;
      scripts.set("+33612007007", () => {
        throw error();
      });
      const { body } = await service.post("/api/phone/sms", { recipientPhone: "+33612007007", message: TEXT });
      await settles(service, body.messageId, status);
      await expect
        .poll(async () => (await service.get(`/api/jobs/sms/${body.messageId}`)).body.state)
        .toMatch(/failed|completed/);

      const message = await service.get(`/api/messages/${body.messageId}`);
      const { recipientPhone, ...shown } = message.body;
      expect(recipientPhone).toBe("+33612007007");
      const list = await service.get(`/api/messages?status=${status}&limit=1000`);
      const job = await service.get(`/api/jobs/sms/${body.messageId}`);
      const answers = JSON.stringify([
        shown,
        job.body,
        list.body.messages.map((each: object) => ({ ...each, recipientPhone: "" })),
      ]);
      const logged = lines.slice(from);
      for (const secret of PRIVATE) {
        expect({ secret, answered: answers.includes(secret) }).toEqual({ secret, answered: false });
        expect({ secret, logged: logged.filter((line) => line.includes(secret)) }).toEqual({ secret, logged: [] });
      }
      // One line an entry, whatever the text holds: nobody forges another.
      for (const line of logged) expect(JSON.parse(line)).toMatchObject({ level: expect.not.stringMatching("fatal") });
      for (const { headers } of [message, list, job]) {
        expect(headers.get("content-type")).toContain("json");
        expect(headers.get("set-cookie")).toBeNull();
      }
    },
  );

  test("a provider's code of a hundred kilobytes → the message still ends", async () => {
    const to = phone(1);
    scripts.set(to, () => {
      throw new PermanentError("x".repeat(100_000), { ...fields, code: "c".repeat(100_000) });
    });
    const { body } = await service.post("/api/phone/sms", { recipientPhone: to, message: TEXT });
    const message = await settles(service, body.messageId, "failed");
    expect(message.attempts).toBe(1);
  });

  test("a provider that answers without an id, or with one of another message → nothing breaks", async () => {
    const odd: unknown[] = [
      undefined,
      null,
      {},
      { providerMessageId: 5 },
      { providerMessageId: "" },
      { providerMessageId: "a\0b" },
    ];
    const messages = await Promise.all(
      odd.map(async (answer, n) => {
        const to = phone(10 + n);
        scripts.set(to, () => answer as never);
        const { body } = await service.post("/api/phone/sms", { recipientPhone: to, message: TEXT });
        return { to, id: body.messageId as string };
      }),
    );
    for (const { to, id } of messages) {
      await expect
        .poll(async () => (await service.get(`/api/messages/${id}`)).body.status)
        .toMatch(/sent|unknown|failed/);
      expect(provider.callsTo(to)).toBe(1);
    }
  });
});

describe("log hygiene, at debug level", () => {
  test("hunts, single sends, failures of every kind, logins and an outage → no secret, number or text in any line", async () => {
    await using own = await openWorld();
    const written: string[] = [];
    const logger = createLogger({ level: "debug", destination: { write: (line: string) => void written.push(line) } });
    const sandbox = await own.start({}, { log: logger });
    const scripted = await own.start(
      {},
      {
        log: logger,
        providers: {
          sms: scriptedProvider((request) => {
            if (request.to.endsWith("1")) throw notSent();
            throw ambiguous();
          }),
        },
      },
    );
    const accountId = await own.account();
    const numbers = Array.from({ length: 8 }, (_, n) => `+33612${n}4000${n}`);
    const channels = ["sms", "whatsapp_text", "ringless_voice"];
    const contacts = channels.flatMap((channel) =>
      numbers.map((recipientPhone, n) =>
        contact({ adId: `${channel}_${n}`, channel, recipientPhone, message: TEXT, senderPhone: "+33987654321" }),
      ),
    );
    contacts.push(contact({ recipientPhone: "0612 98 76 54 99 not a number", message: TEXT }));
    const { jobId } = await submit(sandbox, { accountId, contacts }, { "idempotency-key": "hygiene" });
    await finished(sandbox, jobId);

    const single = { recipientPhone: "+33698765432", message: TEXT };
    for (const one of [sandbox, scripted]) {
      await one.post("/api/phone/sms", single);
      await one.post("/api/whatsapp/text", { ...single, accountId });
      await one.post("/api/phone/ringless-voice", {
        recipientPhone: single.recipientPhone,
        audioUrl: "https://example.com/a.mp3?token=recording-secret",
      });
      await one.post("/api/phone/sms", { ...single, recipientPhone: "+33698765431x", message: "" });
      await one.post("/api/phone/sms", `{"recipientPhone": "+33698765432", "message": "${TEXT}", }`);
      await one.post("/api/hunt/execute", {
        huntId: huntId(),
        accountId,
        contacts: [{ ...single, channel: "pigeon" }],
      });
      await one.get("/api/hunt/+33698765432/messages");
      await one.get(`/api/messages?status=failed&accountId=${encodeURIComponent("+33698765432")}`);
      await one.get("/api/queues/stats", { authorization: `Bearer ${SECRET}-almost` });
      await one.get(`/api/queues/stats?access_token=${SECRET}`);
      for (const secret of ["wrong-guess-of-somebody", SECRET]) {
        const login = await fetch(`${one.url}/admin/login`, {
          method: "POST",
          redirect: "manual",
          body: new URLSearchParams({ secret }),
        });
        const cookie = login.headers.get("set-cookie")?.split(";")[0] ?? "";
        for (const path of ["", "/queue/sms", "/api/queues?activeQueue=sms"])
          await fetch(`${one.url}/admin/queues${path}`, { headers: { cookie } });
      }
    }
    await own.queue("sms").add("sms", { messageId: "not-a-uuid", to: "+33698765432", content: { text: TEXT } });
    await own.database.pausePostgrest();
    await sandbox.post("/api/phone/sms", single);
    await sandbox.get("/ready");
    await own.database.resumePostgrest();
    await run(sandbox, { accountId, contacts: [contact({ recipientPhone: phone(99), message: TEXT })] });
    for (const one of [sandbox, scripted]) await one.stop();

    // Enough was said, and of the right things, for silence about the rest to mean something.
    const all = written.join("");
    for (const said of ["logged in", "login refused", "request", "job failed", "stopped"]) expect(all).toContain(said);
    expect(written.length).toBeGreaterThan(60);
    const secrets = [
      SECRET,
      own.database.supabaseServiceKey,
      "wrong-guess-of-somebody",
      "recording-secret",
      "auto_prospect_admin=",
      TEXT,
      TEXT.slice(8, 24),
      ...[...numbers, "+33698765432", "+33698765431", "+33987654321", phone(99)].map((number) => number.slice(3)),
      "98 76 54 99",
    ];
    for (const secret of secrets) {
      expect({ secret, lines: written.filter((line) => line.includes(secret)) }).toEqual({ secret, lines: [] });
    }
  });
});
