import { request as httpRequest } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createClient, type Contact } from "../../src/client.ts";
import { finished, huntId, messagesOf, phone, statusOf, submit } from "../helpers/hunts.ts";
import { accept, scriptedProvider, type ScriptedProvider } from "../helpers/scripted.ts";
import { contact, openWorld, SECRET, type Answer, type TestService, type World } from "../helpers/service.ts";

let world: World;
let service: TestService;
let provider: ScriptedProvider;
let numbers = 0;

beforeAll(async () => {
  world = await openWorld();
  provider = scriptedProvider(accept);
  service = await world.start({}, { providers: { sms: provider } });
});
afterAll(() => world[Symbol.asyncDispose]());

const next = (fields: Record<string, unknown> = {}) => contact({ recipientPhone: phone(numbers++), ...fields });
/** So many that one in fifty can be dialled: planning is what takes long. */
const many = (count: number) =>
  Array.from({ length: count }, (_, i) => next(i % 50 === 0 ? {} : { recipientPhone: "not a number" }));
const callsTo = (hunt: Record<string, unknown>[]): number =>
  hunt.reduce((sum, { recipientPhone }) => sum + provider.callsTo(String(recipientPhone)), 0);
const inHours = (hours: number): string => new Date(Date.now() + hours * 3_600_000).toISOString();
const NDJSON = { "content-type": "application/x-ndjson" };
const lines = (values: unknown[]): string =>
  values.map((value) => `${typeof value === "string" ? value : JSON.stringify(value)}\n`).join("");
const stream = (values: unknown[], headers: Record<string, string> = {}): Promise<Answer> =>
  service.post("/api/hunt/execute", lines(values), { ...NDJSON, ...headers });
const faultsOf = ({ body }: Answer): Record<string, string> =>
  Object.fromEntries(body.errors.map(({ pointer, detail }: { pointer: string; detail: string }) => [pointer, detail]));

test("a hunt for later: its status says so, Redis holds none of it, and it is sent when its time has come", async () => {
  const accountId = await world.account();
  const contacts = [next(), next({ sendAt: inHours(5) })];
  const hunt = await submit(service, { accountId, contacts, sendAt: inHours(2), expiresAt: inHours(6) });
  await expect.poll(async () => (await statusOf(service, hunt.jobId)).state).toBe("scheduled");
  const waiting = await statusOf(service, hunt.jobId);
  expect(waiting).toMatchObject({ counts: { queued: 2 }, startedAt: null });
  expect((Date.parse(waiting.scheduledAt) - Date.now()) / 3_600_000).toBeCloseTo(2, 1);
  expect(waiting.etaSeconds).toBeGreaterThan(4 * 3600);
  const sms = await world.queue("sms").getJobCountByTypes("wait", "active", "delayed", "prioritized");
  expect([sms, callsTo(contacts)]).toEqual([0, 0]);
  // Its time comes, in the middle of a pause.
  await service.post(`/api/hunt/${hunt.huntId}/pause`, undefined);
  await world.sql.query("update flows set due_at = now() where hunt_id = $1", [hunt.huntId]);
  expect(await statusOf(service, hunt.jobId)).toMatchObject({ state: "paused", etaSeconds: null });
  await service.post(`/api/hunt/${hunt.huntId}/resume`, undefined);
  expect(callsTo(contacts)).toBe(0);
  await world.sql.query("update flows set due_at = now() where hunt_id = $1", [hunt.huntId]);
  await finished(service, hunt.jobId);
  expect(callsTo(contacts)).toBe(2);
});

test("a time of now, one in the past and a local one are sent at once or when they come", async () => {
  const accountId = await world.account();
  const paris = new Date(Date.now() - 60_000).toLocaleString("sv", { timeZone: "Europe/Paris" }).replace(" ", "T");
  const contacts = [
    next(),
    next({ sendAt: "2020-02-29T12:00:00+23:00" }),
    next({ sendAt: paris, timeZone: "Europe/Paris" }),
  ];
  const { jobId } = await submit(service, { accountId, contacts, sendAt: paris, timeZone: "Europe/Paris" });
  expect(await finished(service, jobId)).toMatchObject({ counts: { sent: 3 }, scheduledAt: null, etaSeconds: 0 });
  const soon = [next()];
  const sendAt = new Date(Date.now() + 600).toISOString();
  const second = await submit(service, { accountId, contacts: soon, sendAt });
  await finished(service, second.jobId);
  const [message] = await messagesOf(service, second.huntId);
  expect(Date.parse(message.sentAt)).toBeGreaterThanOrEqual(Date.parse(sendAt));
});

test("what is wrong with times, windows and limits is told in words, all of it at once", async () => {
  const accountId = await world.account();
  const hunt = {
    huntId: huntId(),
    accountId,
    sendAt: "2026-02-30T10:00",
    timeZone: "Paris",
    windows: { days: [8], from: "18:00", to: "09:00", timeZone: "+01:00" },
    contacts: [
      next({ sendAt: inHours(366 * 24 + 1) }),
      next({ sendAt: "tomorrow" }),
      next({ sendAt: 12 }),
      next({ sendAt: inHours(2), timeZone: 1 }),
      next({ sendAt: inHours(366 * 24 - 1) }),
    ],
  };
  const faults = faultsOf(await service.post("/api/hunt/execute", hunt));
  expect(faults).toMatchObject({
    "/sendAt": "must be an ISO 8601 date and time, such as 2026-01-31T09:30:00+01:00",
    "/timeZone": "must be a time zone of the IANA's, such as Europe/Paris",
    "/windows/days/0": expect.stringContaining("7"),
    "/windows/timeZone": expect.stringContaining("IANA"),
    "/contacts/0/sendAt": "is more than 366 days ahead",
    "/contacts/1/sendAt": "must be an ISO 8601 date and time, such as 2026-01-31T09:30:00+01:00",
    "/contacts/2/sendAt": "must be a string",
    "/contacts/3/timeZone": expect.stringContaining("IANA"),
  });
  expect(faults).not.toHaveProperty(["/contacts/4/sendAt"]);
  const late = {
    huntId: huntId(),
    accountId,
    sendAt: inHours(3),
    expiresAt: inHours(2),
    contacts: [next({ sendAt: "2026-02-28T10:00" })],
  };
  expect(faultsOf(await service.post("/api/hunt/execute", late))).toEqual({
    "/sendAt": "is not before expiresAt, after which nothing is sent",
    "/contacts/0/sendAt": "has no offset: give it one, such as +01:00, or a timeZone beside it",
  });
  // Of a hunt that is there, its own end counts.
  const { huntId: id } = await submit(service, { accountId, expiresAt: inHours(1), contacts: [next()] });
  const more = await service.post("/api/hunt/execute", {
    huntId: id,
    accountId,
    sendAt: inHours(2),
    contacts: [next()],
  });
  expect([more.status, Object.keys(faultsOf(more))]).toEqual([400, ["/sendAt"]]);

  const patched = await fetch(`${service.url}/api/accounts/${accountId}`, {
    method: "PATCH",
    headers: { authorization: `Bearer ${SECRET}`, "content-type": "application/json" },
    body: JSON.stringify({
      limits: [{ channel: "fax", perSecond: 0 }, { sender: "x" }, { perDay: 5, timeZone: "CET?" }],
    }),
  });
  const { errors } = (await patched.json()) as { errors: { pointer: string }[] };
  expect(errors.map(({ pointer }) => pointer)).toEqual([
    "/limits/0/channel",
    "/limits/0/perSecond",
    "/limits/1",
    "/limits/2/timeZone",
  ]);
});

test("a limit of an account paces its hunt, whose end is known from the first minute on", async () => {
  const accountId = await world.account();
  await world.sql.query("update accounts set limits = $2 where id = $1", [
    accountId,
    JSON.stringify([{ channel: "sms", perSecond: 25 }]),
  ]);
  const contacts = Array.from({ length: 25 }, () => next());
  const began = Date.now();
  const { jobId, huntId: id } = await submit(service, { accountId, contacts });
  let status: Answer["body"];
  await expect.poll(async () => (status = await statusOf(service, jobId)).state).toBe("running");
  const { etaSeconds } = status;
  expect(etaSeconds).toBeGreaterThanOrEqual(1);
  expect(etaSeconds).toBeLessThanOrEqual(3);
  await finished(service, jobId);
  const times = (await messagesOf(service, id)).map(({ sentAt }) => Date.parse(sentAt)).toSorted((a, b) => a - b);
  expect(times.length).toBe(25);
  // 24 gaps of 40 ms, from some moment after this: a job never runs before its delay is over, however slow the machine is.
  expect((times.at(-1) ?? 0) - began).toBeGreaterThanOrEqual(24 * 40);
});

test("outside a hunt's own hours nothing is sent, even by a job that is there already", async () => {
  const accountId = await world.account();
  const hour = new Date().getUTCHours();
  const closed = {
    days: [1, 2, 3, 4, 5, 6, 7],
    from: hour < 20 ? "22:00" : "03:00",
    to: hour < 20 ? "24:00" : "04:00",
    timeZone: "UTC",
  };
  const contacts = [next()];
  const { jobId, huntId: id } = await submit(service, { accountId, contacts, windows: closed });
  await expect.poll(async () => (await statusOf(service, jobId)).state).toBe("scheduled");
  const [message] = await messagesOf(service, id);
  await world.queue("sms").add(
    "sms",
    {
      messageId: message.messageId,
      accountId,
      huntId: id,
      channel: "sms",
      to: contacts[0]?.["recipientPhone"],
      content: { text: "x" },
      category: "marketing",
      windows: closed,
    },
    { jobId: message.messageId },
  );
  await expect.poll(() => world.queue("sms").getJobCountByTypes("delayed")).toBe(1);
  expect(await messagesOf(service, id)).toMatchObject([
    { status: "queued", detail: expect.stringContaining("for its hunt") },
  ]);
  expect(callsTo(contacts)).toBe(0);
  // By the recipient's clock, and open: sent.
  const open = { days: [1, 2, 3, 4, 5, 6, 7], from: "00:00", to: "24:00" };
  const second = [next()];
  const { jobId: job } = await submit(service, { accountId, contacts: second, windows: open });
  await finished(service, job);
  expect((await world.sql.query("select distinct zone from messages where zone <> ''")).rows).toEqual([
    { zone: "Europe/Paris" },
  ]);
});

test("a stream of contacts is one submission, of several chunks, in order, and its key makes it so once", async () => {
  const accountId = await world.account();
  const contacts = many(1203);
  contacts.push({ ...contacts[0], recipientPhone: phone(numbers++) });
  const head = { huntId: huntId(), accountId, priority: "high" };
  const key = { "idempotency-key": huntId() };
  const first = await stream([head, ...contacts], key);
  expect(first).toMatchObject({ status: 202, body: { huntId: head.huntId, accepted: 1204 } });
  expect(first.headers.get("location")).toBe(`/api/hunt/status/${first.body.jobId}`);
  expect((await stream([head, ...contacts], key)).body).toEqual(first.body);
  expect(await stream([head, ...contacts.slice(1)], key)).toMatchObject({
    status: 409,
    body: { code: "idempotency_conflict" },
  });
  // Without a key: another submission, in which nobody is new.
  const again = await stream([head, ...contacts.slice(0, 3)]);
  await finished(service, first.body.jobId);
  expect(await finished(service, again.body.jobId)).toMatchObject({ total: 1204, counts: { sent: 25, skipped: 1179 } });
  expect(callsTo(contacts)).toBe(25);
  const { rows } = await world.sql.query(
    "select count(*)::int as n from hunt_chunks c where not exists (select 1 from hunt_submissions s where s.job_id = c.job_id)",
  );
  expect(rows).toEqual([{ n: 0 }]);
});

test("a stream's faults are told by the numbers of its lines, and nothing of it is taken", async () => {
  const accountId = await world.account();
  const head = { huntId: huntId(), accountId };
  const answer = await stream([
    head,
    "",
    next(),
    "{not json",
    next({ channel: "fax" }),
    '{"__proto__": 1}',
    next({ adId: undefined }),
    "[]",
    "[".repeat(200_000),
  ]);
  expect(answer.status).toBe(400);
  expect(faultsOf(answer)).toEqual({
    "/lines/4": expect.stringContaining("is not JSON"),
    "/lines/5/channel": expect.stringContaining("must be one of"),
    "/lines/6": "has a key that is never accepted",
    "/lines/7/adId": "is missing",
    "/lines/8": "must be an object",
    "/lines/9": expect.stringContaining("is nested too deep"),
  });
  expect(Object.keys(faultsOf(await stream([{ accountId, sendAt: "soon" }, next()])))).toEqual([
    "/lines/1/huntId",
    "/lines/1/sendAt",
  ]);
  expect(faultsOf(await stream([head]))).toEqual({ "": "has no contacts: they follow the hunt, one a line" });
  expect(faultsOf(await stream([""]))).toEqual({ "": "has no lines: the first is the hunt" });
  const many = await stream([head, ...Array(1500).fill("x")]);
  expect(many.body.errors).toHaveLength(1001);
  expect(await stream([head, `"${"x".repeat(300_000)}"`])).toMatchObject({
    status: 413,
    body: { code: "body_too_large" },
  });
  expect(await stream([{ ...head, accountId: "nobody" }, next()])).toMatchObject({
    status: 422,
    body: { code: "unknown_account" },
  });
  const unread = await service.post("/api/hunt/execute", "a,b", { "content-type": "text/csv" });
  expect(unread).toMatchObject({ status: 415, body: { detail: expect.stringMatching(/application\/json.*x-ndjson/) } });
  for (const type of ["application/ndjson", "application/jsonl; charset=utf-8"])
    expect(faultsOf(await service.post("/api/hunt/execute", "{\n{}\n", { "content-type": type }))).toEqual({
      "/lines/1": expect.stringMatching(/is not JSON.*nothing after it was read/),
    });
  const marked = await service.post("/api/hunt/execute", `\u{feff}${JSON.stringify(head)}\n{}`, NDJSON);
  expect(Object.keys(faultsOf(marked))).toEqual(["/lines/2/adId", "/lines/2/recipientPhone", "/lines/2/channel"]);
  const { rows } = await world.sql.query(
    "select (select count(*) from hunts where id = $1)::int as hunts, (select count(*) from hunt_chunks where contacts is not null and size < 500 and planned_at is null)::int as chunks",
    [head.huntId],
  );
  expect(rows).toEqual([{ hunts: 0, chunks: 0 }]);
});

test("the client streams contacts that it never holds all at once", async () => {
  const accountId = await world.account();
  const client = createClient({ baseUrl: service.url, apiSecret: SECRET });
  const first = numbers;
  let read = 0;
  async function* contacts() {
    for (; read < 700; read++) yield next() as unknown as Contact;
  }
  const accepted = await client.streamHunt({ huntId: huntId(), accountId }, contacts);
  expect(accepted).toMatchObject({ ok: true, value: { accepted: 700 } });
  expect([read, numbers - first]).toEqual([700, 700]);
  const refused = await client.streamHunt({ huntId: huntId(), accountId }, () => [{ adId: "x" } as Contact]);
  expect(refused.ok ? [] : refused.error.errors.map(({ pointer }) => pointer)).toEqual([
    "/lines/2/recipientPhone",
    "/lines/2/channel",
  ]);
});

test("a connection that breaks in the middle of a stream leaves nothing; the same request again is taken", async () => {
  const accountId = await world.account();
  const head = { huntId: huntId(), accountId };
  const contacts = many(1100);
  const staged = async (): Promise<number> => {
    const { rows } = await world.sql.query(
      "select count(*)::int as n from hunt_chunks where contacts -> 0 ->> 'adId' = any ($1)",
      [contacts.map(({ adId }) => adId)],
    );
    return rows[0].n;
  };
  const headers = { ...NDJSON, authorization: `Bearer ${SECRET}`, "idempotency-key": head.huntId };
  const broken = httpRequest(`${service.url}/api/hunt/execute`, { method: "POST", headers }).on(
    "error",
    () => undefined,
  );
  broken.write(lines([head, ...contacts.slice(0, 1050)]));
  await expect.poll(staged).toBe(2);
  broken.destroy();
  await expect.poll(staged).toBe(0);
  const answer = await stream([head, ...contacts], { "idempotency-key": head.huntId });
  expect(answer).toMatchObject({ status: 202, body: { accepted: 1100 } });
  await finished(service, answer.body.jobId);
  expect(callsTo(contacts)).toBe(22);
});
