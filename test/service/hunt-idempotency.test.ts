import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { finished, huntId, messagesOf, phone, run, statusOf, submit } from "../helpers/hunts.ts";
import { scriptedProvider, type ScriptedProvider } from "../helpers/scripted.ts";
import { contact, openWorld, type TestService, type World } from "../helpers/service.ts";

let world: World;
let service: TestService;
let provider: ScriptedProvider;

beforeAll(async () => {
  world = await openWorld();
  provider = scriptedProvider();
  service = await world.start({}, { providers: { sms: provider } });
});
afterAll(() => world[Symbol.asyncDispose]());

const key = () => ({ "Idempotency-Key": randomUUID() });

async function huntsOf(accountId: string): Promise<number> {
  const { rows } = await world.sql.query("select count(*)::int as n from hunts where account_id = $1", [accountId]);
  return rows[0].n;
}

async function submissionsOf(hunt: string): Promise<number> {
  const { rows } = await world.sql.query("select count(*)::int as n from hunt_submissions where hunt_id = $1", [hunt]);
  return rows[0].n;
}

test("the same key with the same body → the same answer, and one submission", async () => {
  const hunt = {
    huntId: huntId(),
    accountId: await world.account(),
    contacts: [contact({ recipientPhone: phone(1) })],
  };
  const headers = key();
  const first = await service.post("/api/hunt/execute", hunt, headers);
  const again = await service.post("/api/hunt/execute", hunt, headers);
  expect(again).toMatchObject({ status: 202, body: first.body });
  expect(again.headers.get("location")).toBe(first.headers.get("location"));
  expect(await submissionsOf(hunt.huntId)).toBe(1);
});

test("the same key with another body → 409, nothing of it is taken", async () => {
  const accountId = await world.account();
  const headers = key();
  await submit(service, { accountId, contacts: [contact({ recipientPhone: phone(2) })] }, headers);
  const other = { huntId: huntId(), accountId, contacts: [contact({ recipientPhone: phone(3) })] };
  const answer = await service.post("/api/hunt/execute", other, headers);
  expect(answer).toMatchObject({ status: 409, body: { code: "idempotency_conflict", status: 409 } });
  expect(answer.headers.get("content-type")).toContain("application/problem+json");
  expect(await huntsOf(accountId)).toBe(1);
  expect(await service.get(`/api/hunt/${other.huntId}/messages`)).toMatchObject({ status: 404 });
});

test("ten requests with the same key at the same time → one submission, ten equal answers", async () => {
  const hunt = {
    huntId: huntId(),
    accountId: await world.account(),
    contacts: [contact({ recipientPhone: phone(4) })],
  };
  const headers = key();
  const requests = Array.from({ length: 10 }, () => service.post("/api/hunt/execute", hunt, headers));
  const answers = await Promise.all(requests);
  expect(answers.map(({ status }) => status)).toEqual(Array(10).fill(202));
  expect(new Set(answers.map(({ body }) => JSON.stringify(body))).size).toBe(1);
  expect(await submissionsOf(hunt.huntId)).toBe(1);
});

test("ten requests with the same key and two bodies at the same time → one body wins, the other gets 409", async () => {
  const hunt = huntId();
  const accountId = await world.account();
  const headers = key();
  const bodies = [5, 6].map((n) => ({ huntId: hunt, accountId, contacts: [contact({ recipientPhone: phone(n) })] }));
  const requests = Array.from({ length: 10 }, (_, i) => service.post("/api/hunt/execute", bodies[i % 2], headers));
  const statuses = (await Promise.all(requests)).map(({ status }) => status);
  expect(statuses.toSorted()).toEqual([202, 202, 202, 202, 202, 409, 409, 409, 409, 409]);
  expect(await submissionsOf(hunt)).toBe(1);
});

test("a big hunt of several staged parts with the same key at the same time → one submission", async () => {
  const contacts = Array.from({ length: 5501 }, (_, i) => contact({ adId: `ad_${i}`, recipientPhone: "none" }));
  const hunt = { huntId: huntId(), accountId: await world.account(), contacts };
  const headers = key();
  const answers = await Promise.all(Array.from({ length: 3 }, () => service.post("/api/hunt/execute", hunt, headers)));
  expect(new Set(answers.map(({ status, body }) => `${status} ${body.jobId}`)).size).toBe(1);
  const status = await finished(service, answers[0]?.body.jobId);
  expect(status).toMatchObject({ total: 5501, counts: { skipped: 5501 } });
  expect(await submissionsOf(hunt.huntId)).toBe(1);
});

test("a key that was used for a refused request → is still free", async () => {
  const accountId = `acc_${randomUUID()}`;
  const hunt = { huntId: huntId(), accountId, contacts: [contact({ recipientPhone: phone(7) })] };
  const headers = key();
  expect(await service.post("/api/hunt/execute", hunt, headers)).toMatchObject({ status: 422 });
  await world.sql.query("insert into accounts (id) values ($1)", [accountId]);
  expect(await service.post("/api/hunt/execute", hunt, headers)).toMatchObject({ status: 202 });
});

test("the same key on another route → is another key", async () => {
  const headers = key();
  await submit(
    service,
    { accountId: await world.account(), contacts: [contact({ recipientPhone: phone(8) })] },
    headers,
  );
  const single = { recipientPhone: phone(9), message: "Bonjour" };
  expect(await service.post("/api/phone/sms", single, headers)).toMatchObject({ status: 202 });
});

test("a key that is not printable, or too long → 400 by its pointer", async () => {
  const hunt = { huntId: huntId(), accountId: await world.account(), contacts: [contact()] };
  for (const bad of ["é", "x".repeat(256)]) {
    const answer = await service.post("/api/hunt/execute", hunt, { "Idempotency-Key": bad });
    expect(answer).toMatchObject({ status: 400, body: { errors: [{ pointer: "/header/Idempotency-Key" }] } });
  }
});

test("the same hunt submitted twice without a key → every contact is called once", async () => {
  const numbers = Array.from({ length: 20 }, (_, i) => phone(100 + i));
  const contacts = numbers.map((recipientPhone) => contact({ recipientPhone }));
  const hunt = { huntId: huntId(), accountId: await world.account(), contacts };
  const first = await run(service, hunt);
  const second = await run(service, hunt);
  expect(second.jobId).not.toBe(first.jobId);
  expect(numbers.map((number) => provider.callsTo(number))).toEqual(Array(20).fill(1));
  expect(await statusOf(service, second.jobId)).toMatchObject({ total: 20, counts: { sent: 20 } });
});

test("the same hunt submitted five times at once → every contact is called once", async () => {
  const numbers = Array.from({ length: 20 }, (_, i) => phone(200 + i));
  const contacts = numbers.map((recipientPhone) => contact({ recipientPhone }));
  const hunt = { huntId: huntId(), accountId: await world.account(), contacts };
  const submissions = await Promise.all(Array.from({ length: 5 }, () => submit(service, hunt)));
  for (const { jobId } of submissions) expect(await finished(service, jobId)).toMatchObject({ counts: { sent: 20 } });
  expect(numbers.map((number) => provider.callsTo(number))).toEqual(Array(20).fill(1));
});

test("further contacts for a hunt → are added, those it has are left alone", async () => {
  const hunt = huntId();
  const accountId = await world.account();
  const [a, b, c] = [300, 301, 302].map((n, i) => contact({ adId: `ad_${i}`, recipientPhone: phone(n) }));
  await run(service, { huntId: hunt, accountId, contacts: [a, b] });
  const appended = await run(service, { huntId: hunt, accountId, contacts: [b, c] });
  expect(await statusOf(service, appended.jobId)).toMatchObject({ total: 3, counts: { sent: 3 } });
  expect((await messagesOf(service, hunt)).map(({ adId, status }) => [adId, status])).toEqual([
    ["ad_0", "sent"],
    ["ad_1", "sent"],
    ["ad_2", "sent"],
  ]);
  expect([300, 301, 302].map((n) => provider.callsTo(phone(n)))).toEqual([1, 1, 1]);
});

test("the hunt of another account → 409, nobody is contacted", async () => {
  const hunt = huntId();
  await run(service, {
    huntId: hunt,
    accountId: await world.account(),
    contacts: [contact({ recipientPhone: phone(310) })],
  });
  const body = { huntId: hunt, accountId: await world.account(), contacts: [contact({ recipientPhone: phone(311) })] };
  const answer = await service.post("/api/hunt/execute", body);
  expect(answer).toMatchObject({ status: 409, body: { code: "hunt_of_other_account" } });
  expect(await submissionsOf(hunt)).toBe(1);
  expect(provider.callsTo(phone(311))).toBe(0);
});

test("an account that is not there → 422; one that is suspended → 403", async () => {
  const contacts = [contact({ recipientPhone: phone(320) })];
  const unknown = await service.post("/api/hunt/execute", { huntId: huntId(), accountId: "nobody", contacts });
  expect(unknown).toMatchObject({
    status: 422,
    body: { code: "unknown_account", errors: [{ pointer: "/accountId" }] },
  });
  const accountId = await world.account({ status: "suspended" });
  const suspended = await service.post("/api/hunt/execute", { huntId: huntId(), accountId, contacts });
  expect(suspended).toMatchObject({ status: 403, body: { code: "suspended_account" } });
  expect(provider.callsTo(phone(320))).toBe(0);
});

test("a hunt of several chunks for an account that is refused → leaves nothing behind", async () => {
  const contacts = Array.from({ length: 1001 }, () => contact());
  const count = async () => {
    const counting =
      "select (select count(*) from hunts)::int as hunts, (select count(*) from hunt_chunks)::int as chunks";
    return (await world.sql.query(counting)).rows[0];
  };
  const before = await count();
  const answer = await service.post("/api/hunt/execute", { huntId: huntId(), accountId: "nobody", contacts });
  expect(answer).toMatchObject({ status: 422 });
  expect(await count()).toEqual(before);
});
