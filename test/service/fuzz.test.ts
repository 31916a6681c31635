import { once } from "node:events";
import { Agent } from "node:http";
import { connect } from "node:net";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { messageOf } from "../../src/core/errors.ts";
import type { OpenApiDocument } from "../../src/routes/openapi-document.ts";
import { exchange, rawRequest, type RawAnswer } from "../helpers/fuzz-raw.ts";
import { anyRequest, type FuzzRequest } from "../helpers/fuzz-requests.ts";
import { createChecker, operationsOf, responseOf } from "../helpers/fuzz-schema.ts";
import { phone, run, settles } from "../helpers/hunts.ts";
import { contact, openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";
import { WEBHOOKS } from "../helpers/sms-vendors.ts";

/** `FUZZ_SEED=… FUZZ_RUNS=…` for another or a longer run; a failure names its seed. */
const SEED = Number(process.env["FUZZ_SEED"] ?? 20_261_122);
const RUNS = Number(process.env["FUZZ_RUNS"] ?? 1000);
/** Requests at the same time. */
const TOGETHER = 8;
const ERROR_LEVEL = 50;

let world: World;
let service: TestService;
let document: OpenApiDocument;
let accountId: string;

beforeAll(async () => {
  world = await openWorld();
  // No name leads anywhere: what endpoints are made up is not looked up.
  const fetchPolicy = { lookup: async () => [] };
  service = await world.start({ ...WEBHOOKS, MAX_BODY_BYTES: "65536" }, { fetchPolicy });
  document = (await service.get("/openapi.json")).body;
  accountId = await world.account();
});
afterAll(() => world[Symbol.asyncDispose]());

async function finishesAHunt(): Promise<void> {
  const contacts = [
    contact({ recipientPhone: phone(1) }),
    contact({ recipientPhone: phone(2), channel: "whatsapp_text" }),
  ];
  const { huntId } = await run(service, { accountId: await world.account(), contacts });
  const { body } = await service.get(`/api/hunt/${huntId}/messages`);
  expect(body.messages.map(({ status }: { status: string }) => status)).toEqual([
    expect.stringMatching(/sent|delivered/),
    expect.stringMatching(/sent|delivered/),
  ]);
}

const errors = (): unknown[] => service.logs.filter(({ level }) => Number(level) >= ERROR_LEVEL);

/** What there is to find: a message that was sent, one of unknown fate, one that failed, and a hunt. */
async function something() {
  const send = async (recipientPhone: string, status: string): Promise<string> => {
    const { body } = await service.post("/api/phone/sms", { recipientPhone, message: "Bonjour", accountId });
    await settles(service, body.messageId, status);
    return body.messageId;
  };
  // Several, because whatever is cancelled or archived is so for good.
  const template = async (): Promise<string> => {
    const { body } = await service.post("/api/templates", { accountId, name: "Un", text: "Bonjour" });
    return body.templateId;
  };
  const templates = await Promise.all(Array.from({ length: 20 }, template));
  const recurrence = async (): Promise<string> => {
    const when = { name: "Yearly", cron: "0 9 1 1 *", timeZone: "UTC" };
    const hunt = { contacts: [contact({ recipientPhone: phone(3) })] };
    return (await service.post("/api/recurrences", { accountId, ...when, hunt })).body.recurrenceId;
  };
  const recurrences = await Promise.all(Array.from({ length: 20 }, recurrence));
  const owners = [accountId, await world.account(), await world.account()];
  // Several, for they are deleted one by one.
  const tried = await Promise.all(
    Array.from({ length: 30 }, async (_, i) => {
      const url = `https://hooks.example.com/known/${i}`;
      // As many as an account may have, and room for those that are made.
      const { body } = await service.post("/api/webhook-endpoints", { accountId: owners[i % owners.length], url });
      return (await service.post(`/api/webhook-endpoints/${body.endpointId}/test`, undefined)).body;
    }),
  );
  // Several, because whatever is cancelled is so for good.
  const submit = () => run(service, { accountId, contacts: [contact({ recipientPhone: phone(3) })] });
  const hunts = await Promise.all(Array.from({ length: 6 }, submit));
  return {
    steady: await world.account(),
    accounts: [accountId, await world.account({ status: "suspended" })],
    hunts: hunts.map(({ huntId }) => huntId),
    jobs: hunts.map(({ jobId }) => jobId),
    templates,
    recurrences,
    endpoints: tried.map(({ endpointId }) => endpointId),
    deliveries: tried.map(({ deliveryId }) => deliveryId),
    messages: [
      await send(phone(4), "delivered"),
      await send("+33612340004", "unknown"),
      await send("+33612340001", "failed"),
    ],
  };
}

/** What is wrong with an answer, or undefined. */
function createJudge() {
  const fits = createChecker(document);
  return (request: FuzzRequest, { status, headers, text }: RawAnswer): string | undefined => {
    const { operation, authorized, target } = request;
    if (status >= 500) return "a fault of ours";
    if (headers["x-powered-by"] !== undefined || headers["set-cookie"] !== undefined) return "a header too many";
    const type = headers["content-type"]?.toString().split(";", 1)[0];
    const isPublic = operation ? operation.security?.length === 0 : !/^\/api(?:[/?]|$)/.test(target);
    if (!isPublic && !authorized) return status === 401 ? undefined : "no token, and no 401";
    const problem = type === "application/problem+json" ? (JSON.parse(text || "null") as Problem | null) : undefined;
    if (problem && problem.requestId !== headers["x-request-id"]) return "another request id in the header";
    if (problem && problem.status !== status) return "another status in the problem";

    if (!operation) return status >= 400 && type !== "application/problem+json" ? "not a problem" : undefined;
    const documented = responseOf(document, operation, status);
    if (!documented) return "a status that is not documented";
    if (!documented.content) return undefined;
    const content = documented.content[type ?? ""];
    if (!content) return `documented as ${Object.keys(documented.content).join(", ")}`;
    const codes = documented["x-problem-codes"];
    if (problem && codes && !(problem.code in codes)) return `a code that is not documented: ${problem.code}`;
    return fits(content.schema, type?.endsWith("json") ? JSON.parse(text) : text);
  };
}

interface Problem {
  status: number;
  code: string;
  requestId: string;
}

test(`${RUNS * TOGETHER} requests that are right, nearly right and nonsense → each answer as documented, no 5xx`, async () => {
  const judge = createJudge();
  const operations = operationsOf(document);
  const agent = new Agent({ keepAlive: true, maxSockets: TOGETHER });
  const seen = new Map<string, number>();
  const requests = fc.array(anyRequest(document, operations, await something()), {
    minLength: TOGETHER,
    maxLength: TOGETHER,
  });
  const property = fc.asyncProperty(requests, async (batch) => {
    const answers = await Promise.all(batch.map((request) => rawRequest(service.url, request, agent)));
    batch.forEach((request, i) => {
      const answer = answers[i] as RawAnswer;
      const name = `${request.operation?.operationId ?? "strange"} ${answer.status}`;
      seen.set(name, (seen.get(name) ?? 0) + 1);
      const fault = judge(request, answer);
      if (fault) throw new Error(describe(fault, request, answer));
    });
  });
  const { failed, seed, errorInstance } = await fc.check(property, { seed: SEED, numRuns: RUNS });
  expect(failed ? `${messageOf(errorInstance)}\nFUZZ_SEED=${seed} shows it again` : "").toBe("");
  agent.destroy();
  expect(errors()).toEqual([]);
  // A fuzz that is refused at the door each time would pass as well.
  for (const { operationId, responses } of operations) {
    for (const status of [200, 201, 202, 400, 404].filter((each) => responses[each])) {
      // What can be done once only, wants a phone that is paired, or a hunt that is not cancelled: whether a request finds it
      // so depends on others.
      if (
        status < 400 &&
        /Resolve|Retry|deleteApiSuppressions|WhatsappSessions|DeliveryId|patchApiHunts/.test(operationId)
      )
        continue;
      expect(seen.get(`${operationId} ${status}`) ?? 0, `${operationId} ${status}`).toBeGreaterThan(0);
    }
  }
  await finishesAHunt();
}, 150_000);

function describe(fault: string, { method, target, headers, body }: FuzzRequest, answer: RawAnswer): string {
  const sent = `${method} ${target}\n${JSON.stringify(headers)}\n${body?.toString("latin1").slice(0, 1000) ?? "(no body)"}`;
  return `${fault}\n${sent}\n→ ${answer.status} ${answer.text.slice(0, 1000)}`;
}

const HEAD = `POST /api/phone/sms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${SECRET}\r\nContent-Type: application/json\r\n`;

test.each([
  ["bytes of no protocol", Buffer.from(Array.from({ length: 2000 }, (_, i) => (i * 7919) % 256))],
  ["a TLS hello", Buffer.from("1603010200010001fc0303", "hex")],
  ["an HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
  ["a method that does not exist", "BREW /api HTTP/1.1\r\nHost: x\r\n\r\n"],
  ["HTTP/9", "GET / HTTP/9.9\r\nHost: x\r\n\r\n"],
  ["no Host", "GET /health HTTP/1.1\r\n\r\n"],
  ["headers of 100 KB", `GET /health HTTP/1.1\r\nHost: x\r\nX-Long: ${"x".repeat(100_000)}\r\n\r\n`],
  ["a path of 100 KB", `GET /${"x".repeat(100_000)} HTTP/1.1\r\nHost: x\r\n\r\n`],
  ["a NUL within a header", "GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\0b\r\n\r\n"],
  ["two lengths", `${HEAD}Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}`],
  ["a length and chunks", `${HEAD}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ["a negative length", `${HEAD}Content-Length: -1\r\n\r\n{}`],
  ["a chunk that is none", `${HEAD}Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n`],
  ["a chunk longer than anything", `${HEAD}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}`],
  ["an expectation that nobody can meet", `${HEAD}Expect: a miracle\r\nContent-Length: 2\r\n\r\n{}`],
  ["an upgrade", "GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"],
  ["a tunnel", "CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: x\r\n\r\n"],
])("%s on the socket → refused or left alone, never a 5xx, and others are served", async (_, bytes) => {
  const answer = await exchange(service.url, bytes);
  expect(answer).toMatch(/^$|^HTTP\/1\.1 [1234]/);
  expect(errors()).toEqual([]);
  expect((await service.get("/ready")).status).toBe(200);
});

test.each([
  ["nothing", ""],
  ["half of a request line", "GET /hea"],
  ["half of the headers", HEAD],
  ["half of a body", `${HEAD}Content-Length: 400\r\n\r\n{"recipientPhone":"+3361`],
  ["half of a chunk", `${HEAD}Transfer-Encoding: chunked\r\n\r\nff\r\n{"recip`],
  ["half of a compressed body", `${HEAD}Content-Encoding: gzip\r\nContent-Length: 400\r\n\r\n\x1f\x8b\x08`],
])("fifty callers who say %s and leave → others are served", async (_, bytes) => {
  const { hostname, port } = new URL(service.url);
  await Promise.all(
    Array.from({ length: 50 }, async () => {
      const socket = connect(Number(port), hostname);
      await once(socket, "connect");
      await new Promise<void>((resolve) => socket.write(bytes, "latin1", () => resolve()));
      const closed = once(socket, "close");
      socket.resetAndDestroy();
      await closed;
    }),
  );
  expect((await service.get("/ready")).status).toBe(200);
  expect(errors()).toEqual([]);
});

test("after all that → a valid hunt is sent to its end", finishesAHunt);
