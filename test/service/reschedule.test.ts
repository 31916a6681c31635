import { afterAll, beforeAll, expect, test } from "vitest";
import { createClient, type HuntChanges } from "../../src/client.ts";
import { finished, huntId, messagesOf, phone, statusOf, submit } from "../helpers/hunts.ts";
import { accept, refusal, scriptedProvider, type ScriptedProvider } from "../helpers/scripted.ts";
import { contact, openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";

let world: World;
let service: TestService;
let provider: ScriptedProvider;
/** Who is refused. */
const REFUSED = new Set<unknown>();
/** What calls wait for; undefined: nothing. */
let held: PromiseWithResolvers<void> | undefined;
let numbers = 0;

beforeAll(async () => {
  world = await openWorld();
  provider = scriptedProvider(async (request, signal) => {
    await held?.promise;
    if (REFUSED.has(request.to)) throw refusal();
    return accept(request, signal);
  });
  // No sweeper finds here what was left without a job.
  const environment = { WORKER_CONCURRENCY: "2", SWEEP_MS: "600000" };
  service = await world.start(environment, { providers: { sms: provider } });
});
afterAll(() => world[Symbol.asyncDispose]());

const inHours = (hours: number): string => new Date(Date.now() + hours * 3_600_000).toISOString();
const next = (fields: Record<string, unknown> = {}) => contact({ recipientPhone: phone(numbers++), ...fields });
const callsTo = (contacts: Record<string, unknown>[]): number[] =>
  contacts.map(({ recipientPhone }) => provider.callsTo(String(recipientPhone)));
const once = (contacts: unknown[]): number[] => contacts.map(() => 1);
const sum = (counts: number[]): number => counts.reduce((total, n) => total + n, 0);
async function reschedule(hunt: string, changes: unknown) {
  const client = createClient({ baseUrl: service.url, apiSecret: SECRET });
  const result = await client.rescheduleHunt(hunt, changes as HuntChanges);
  if (result.ok) return result.value;
  const { status, code, errors } = result.error;
  return { status, code, pointers: errors.map(({ pointer }) => pointer) };
}
const jobs = (...states: ("wait" | "active" | "delayed" | "prioritized")[]) =>
  world.queue("sms").getJobCountByTypes(...states);

/** A hunt of eight whose first two are being sent, until `held` is resolved. */
async function running() {
  held = Promise.withResolvers();
  const contacts = Array.from({ length: 8 }, () => next());
  const accountId = await world.account();
  const hunt = await submit(service, { accountId, contacts });
  await expect.poll(() => sum(callsTo(contacts))).toBe(2);
  return { ...hunt, accountId, contacts };
}

test("a hunt for later that is brought forward → what has a later time of its own, or comes later, keeps that", async () => {
  const accountId = await world.account();
  const contacts = [next(), next({ sendAt: inHours(5) })];
  const { huntId: id, jobId } = await submit(service, {
    accountId,
    contacts,
    sendAt: inHours(2),
    expiresAt: inHours(9),
  });
  await expect.poll(async () => (await statusOf(service, jobId)).state).toBe("scheduled");
  expect(await reschedule(id, { sendAt: inHours(1) })).toMatchObject({ accountId, sendAt: expect.any(String) });
  const waiting = await statusOf(service, jobId);
  expect((Date.parse(waiting.scheduledAt) - Date.now()) / 3_600_000).toBeCloseTo(1, 1);
  await service.post(`/api/hunt/${id}/pause`, undefined);
  expect(await reschedule(id, { sendAt: "2020-02-29T12:00", timeZone: "Europe/Paris" })).toMatchObject({
    sendAt: "2020-02-29T11:00:00.000Z",
  });
  expect(callsTo(contacts)).toEqual([0, 0]);
  await service.post(`/api/hunt/${id}/resume`, undefined);
  await expect.poll(() => callsTo(contacts)).toEqual([1, 0]);

  const late = [next()];
  const more = await submit(service, { accountId, huntId: id, contacts: late, sendAt: inHours(3) });
  await expect.poll(async () => (await statusOf(service, more.jobId)).state).toBe("scheduled");
  const status = await statusOf(service, more.jobId);
  expect((Date.parse(status.scheduledAt) - Date.now()) / 3_600_000).toBeCloseTo(3, 1);
  expect(await reschedule(id, { expiresAt: inHours(4) })).toMatchObject({ pointers: ["/expiresAt"] });
  expect(await reschedule(id, { sendAt: inHours(10) })).toMatchObject({ pointers: ["/sendAt"] });
  expect(await reschedule(id, { sendAt: inHours(10), expiresAt: inHours(11) })).not.toHaveProperty("code");
  expect((Date.parse((await statusOf(service, jobId)).scheduledAt) - Date.now()) / 3_600_000).toBeCloseTo(10, 1);
  expect(callsTo([...contacts, ...late])).toEqual([1, 0, 0]);
});

test("a running hunt that is postponed → what is being sent is sent, all else waits, also what is added", async () => {
  const hunt = await running();
  const later = { sendAt: inHours(1) };
  expect(await reschedule(hunt.huntId, later)).toMatchObject({ huntId: hunt.huntId });
  expect(await reschedule(hunt.huntId, later)).toMatchObject({ huntId: hunt.huntId });
  const added = [next(), next({ senderPhone: "+33700000001" })];
  await submit(service, { accountId: hunt.accountId, huntId: hunt.huntId, contacts: added });
  held?.resolve();
  await expect.poll(async () => (await statusOf(service, hunt.jobId)).counts).toMatchObject({ sent: 2, queued: 8 });
  await service.post(`/api/hunt/${hunt.huntId}/pause`, undefined);
  await service.post(`/api/hunt/${hunt.huntId}/resume`, undefined);
  const due = "select sender, due_at > now() + interval '59 minutes' as waits from flows where hunt_id = $1 order by 1";
  expect((await world.sql.query(due, [hunt.huntId])).rows).toEqual([
    { sender: "", waits: true },
    { sender: "+33700000001", waits: true },
  ]);
  await expect.poll(() => jobs("wait", "active", "prioritized")).toBe(0);
  const contacts = [...hunt.contacts, ...added];
  expect(sum(callsTo(contacts))).toBe(2);
  expect(await statusOf(service, hunt.jobId)).toMatchObject({ state: "scheduled" });

  expect(await reschedule(hunt.huntId, { sendAt: null })).toMatchObject({ sendAt: null });
  await finished(service, hunt.jobId);
  expect(callsTo(contacts)).toEqual(once(contacts));
});

test("windows that are given and taken away → count at once, also for jobs that wait for the old ones", async () => {
  const hunt = await running();
  const hour = new Date().getUTCHours();
  const closed = {
    days: [1, 2, 3, 4, 5, 6, 7],
    from: hour < 20 ? "22:00" : "03:00",
    to: hour < 20 ? "24:00" : "04:00",
  };
  expect(await reschedule(hunt.huntId, { windows: closed })).toMatchObject({ pointers: ["/windows/timeZone"] });
  const windows = { ...closed, timeZone: "UTC" };
  expect(await reschedule(hunt.huntId, { windows })).toMatchObject({ windows });
  held?.resolve();
  await expect.poll(async () => (await statusOf(service, hunt.jobId)).counts).toMatchObject({ sent: 2, queued: 6 });
  await expect.poll(() => jobs("wait", "active", "prioritized")).toBe(0);
  expect(await jobs("delayed")).toBeGreaterThan(0);
  expect(await statusOf(service, hunt.jobId)).toMatchObject({ state: "scheduled", counts: { queued: 6 } });
  expect(await reschedule(hunt.huntId, { windows: null })).toMatchObject({ windows: null });
  await finished(service, hunt.jobId);
  expect(callsTo(hunt.contacts)).toEqual(once(hunt.contacts));
});

test("a paused hunt that is prolonged → is sent after its old end; what has expired stays so", async () => {
  const hunt = await running();
  await service.post(`/api/hunt/${hunt.huntId}/pause`, undefined);
  held?.resolve();
  await expect.poll(async () => (await statusOf(service, hunt.jobId)).counts.sent).toBe(2);
  const { priority, expiresAt } = { priority: "high", expiresAt: inHours(1) };
  const answer = await reschedule(hunt.huntId, { priority, expiresAt });
  expect(answer).toMatchObject({ priority, windows: null, sendAt: null });
  expect(await service.get(`/api/hunts/${hunt.huntId}`)).toMatchObject({ body: { priority, state: "paused" } });
  const { rows } = await world.sql.query("select distinct weight from flows where hunt_id = $1", [hunt.huntId]);
  expect(rows).toEqual([{ weight: 4 }]);
  // As if the end that it was planned with had passed.
  await world.sql.query("update messages set expires_at = now() where hunt_id = $1", [hunt.huntId]);
  held = Promise.withResolvers();
  await service.post(`/api/hunt/${hunt.huntId}/resume`, undefined);
  await expect.poll(() => sum(callsTo(hunt.contacts))).toBe(4);
  expect(await reschedule(hunt.huntId, { expiresAt: inHours(-1) })).not.toHaveProperty("code");
  held.resolve();
  expect(await finished(service, hunt.jobId)).toMatchObject({ counts: { sent: 4, skipped: 4 } });
  expect((await messagesOf(service, hunt.huntId)).filter(({ reason }) => reason === "expired")).toHaveLength(4);
  await reschedule(hunt.huntId, { expiresAt: inHours(1) });
  expect(await statusOf(service, hunt.jobId)).toMatchObject({ state: "finished", counts: { skipped: 4 } });
});

test("who failed in a hunt that is prolonged, or cut, → can be tried again by hand until the end that it has now", async () => {
  const accountId = await world.account();
  const refused = [next(), next()];
  for (const { recipientPhone } of refused) REFUSED.add(recipientPhone);
  const { huntId: id, jobId } = await submit(service, { accountId, contacts: refused });
  await finished(service, jobId);
  REFUSED.clear();
  const failed = async () => {
    const { body } = await service.get("/api/queues/sms/failed");
    return body.jobs.filter(({ huntId: of }: { huntId: string }) => of === id);
  };
  const [first] = await failed();
  const retry = (job: { jobId: string }) => service.post(`/api/jobs/sms/${job.jobId}/retry`, undefined);
  await reschedule(id, { expiresAt: inHours(-1) });
  expect(await failed()).toMatchObject([{ retryable: false }, { retryable: false }]);
  expect(await retry(first)).toMatchObject({ status: 409, body: { code: "not_retryable" } });
  await reschedule(id, { expiresAt: inHours(1) });
  // As if the end that it was planned with had passed.
  await world.sql.query("update messages set expires_at = now() where hunt_id = $1", [id]);
  expect(await failed()).toMatchObject([{ retryable: true }, { retryable: true }]);
  expect(await retry(first)).toMatchObject({ status: 202 });
  expect(await service.post("/api/queues/sms/failed/retry", undefined)).toMatchObject({ body: { retried: 1 } });
  expect(await finished(service, jobId)).toMatchObject({ counts: { sent: 2 } });
});

test("what cannot be: nothing, nonsense, another time after a cancel, a hunt that there is not", async () => {
  const accountId = await world.account();
  const { huntId: id } = await submit(service, { accountId, contacts: [next()], sendAt: inHours(1) });
  expect(await reschedule(id, { timeZone: "Europe/Paris" })).toMatchObject({ status: 400, pointers: [""] });
  const nonsense = { sendAt: "soon", windows: { days: [], from: "9" }, priority: "urgent", contacts: [] };
  const { pointers } = (await reschedule(id, nonsense)) as { pointers: string[] };
  expect(pointers).toEqual(expect.arrayContaining(["/sendAt", "/windows/days", "/windows/from", "/priority"]));
  await service.post(`/api/hunt/${id}/cancel`, undefined);
  expect(await reschedule(id, { sendAt: null })).toMatchObject({ status: 409, code: "hunt_cancelled" });
  expect(await reschedule(huntId(), { sendAt: null })).toMatchObject({ status: 404, code: "not_found" });
});
