import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test } from "vitest";
import { finished, messagesOf, phone } from "../helpers/hunts.ts";
import { until } from "../helpers/ledger.ts";
import { accept, scriptedProvider, type ScriptedProvider } from "../helpers/scripted.ts";
import { contact, openWorld, SECRET, type Answer, type TestService, type World } from "../helpers/service.ts";

const HOURLY = { name: "Hourly", cron: "0 * * * *", timeZone: "Europe/Paris" };

let world: World;
let service: TestService;
let other: TestService;
let provider: ScriptedProvider;
let accountId: string;
let numbers = 0;

beforeAll(async () => {
  world = await openWorld();
  provider = scriptedProvider(accept);
  const start = () => world.start({ SWEEP_MS: "200" }, { providers: { sms: provider } });
  [service, other] = await Promise.all([start(), start()]);
  accountId = await world.account();
});
afterAll(() => world[Symbol.asyncDispose]());

const call = async (method: string, path: string, body?: object): Promise<Answer> => {
  const headers = { authorization: `Bearer ${SECRET}`, ...(body && { "content-type": "application/json" }) };
  const response = await fetch(service.url + path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  return { status: response.status, headers: response.headers, body: await response.json() };
};
const at = (id: string, rest = ""): string => `/api/recurrences/${id}${rest}?accountId=${accountId}`;
const read = async (id: string): Promise<Answer["body"]> => (await call("GET", at(id))).body;
const next = (fields: object = {}) => contact({ recipientPhone: phone(numbers++), ...fields });
const callsTo = (contacts: Record<string, unknown>[]): number[] =>
  contacts.map(({ recipientPhone }) => provider.callsTo(String(recipientPhone)));

async function make(contacts: object[], fields: object = {}, hunt: object = {}): Promise<string> {
  const answer = await service.post("/api/recurrences", {
    accountId,
    ...HOURLY,
    ...fields,
    hunt: { ...hunt, contacts },
  });
  expect(answer).toMatchObject({ status: 201, body: { contacts: contacts.length } });
  return answer.body.recurrenceId;
}
const scheduler = (id: string) => world.queue("hunt").getJobScheduler(id);
/** The next run's time has come; answers which it is. */
async function comes(id: string): Promise<number> {
  const waiting = await world.queue("hunt").getDelayed();
  const job = waiting.find(({ name, data }) => name === "recur" && data.recurrenceId === id);
  await job?.promote();
  return job?.opts.prevMillis ?? 0;
}
const huntOf = (id: string, millis: number): string => `${id}:${new Date(millis).toISOString().replace(".000", "")}`;
async function huntsOf(id: string): Promise<{ id: string; job: string }[]> {
  const { rows } = await world.sql.query(
    "select h.id, s.job_id as job from hunts h join hunt_submissions s on s.hunt_id = h.id where h.id like $1 order by 1",
    [`${id}:%`],
  );
  return rows;
}
async function runs(id: string, count: number): Promise<void> {
  await expect.poll(async () => (await huntsOf(id)).length).toBe(count);
  for (const { job } of await huntsOf(id)) await finished(service, job);
}

test("a run → is one hunt of its own, though two processes are told of it twice; the next one is another", async () => {
  const contacts = [next({ message: undefined, variables: { name: "Zoé" } }), next()];
  const id = await make(contacts, {}, { priority: "high", template: "Bonjour {{ name }}" });
  const soon = new Date(Math.ceil((Date.now() + 1) / 3_600_000) * 3_600_000).toISOString();
  expect(await read(id)).toMatchObject({
    ...HOURLY,
    contacts: 2,
    runs: 0,
    lastRunAt: null,
    lastHuntId: null,
    nextRunAt: soon,
  });
  const first = await comes(id);
  await world.queue("hunt").addBulk(
    Array.from({ length: 6 }, (_, i) => ({
      name: "recur",
      data: { recurrenceId: id, at: first },
      opts: { jobId: `again-${id}-${i}` },
    })),
  );
  await runs(id, 1);
  await expect.poll(() => world.queue("hunt").getActiveCount()).toBe(0);
  expect(await huntsOf(id)).toMatchObject([{ id: huntOf(id, first) }]);
  const [{ job } = { job: "" }] = await huntsOf(id);
  expect((await service.get(`/api/hunt/status/${job}`)).body).toMatchObject({ total: 2, counts: { sent: 2 } });
  expect(callsTo(contacts)).toEqual([1, 1]);
  const { rows } = await world.sql.query(
    "select content ->> 'text' as text from messages where hunt_id = $1 order by seq",
    [huntOf(id, first)],
  );
  expect(rows[0]).toEqual({ text: "Bonjour Zoé" });
  const { lastHuntId, ...one } = await read(id);
  expect([one, lastHuntId]).toMatchObject([{ runs: 1, lastRunAt: new Date(first).toISOString() }, huntOf(id, first)]);
  expect((await service.get(`/api/hunts/${encodeURIComponent(lastHuntId)}`)).body).toMatchObject({
    huntId: lastHuntId,
  });

  await expect.poll(() => comes(id)).toBe(first + 3_600_000);
  await runs(id, 2);
  expect(callsTo(contacts)).toEqual([2, 2]);
  expect(JSON.stringify([...service.logs, ...other.logs])).not.toMatch(/Zoé/);
});

test("Redis is emptied → it comes again as before, and of the runs that were missed meanwhile one is made up for", async () => {
  const contacts = [next()];
  const id = await make(contacts);
  await world.sql.query("update recurrences set since = now() - interval '3 hours' where id = $1", [id]);
  const redis = new Redis(String(world.environment["REDIS_URL"]));
  await redis.del(...(await redis.keys(`${world.prefix}*`)));
  redis.disconnect();
  await runs(id, 1);
  expect(callsTo(contacts)).toEqual([1]);
  expect(Date.parse((await read(id)).lastRunAt)).toBeLessThan(Date.now() - 3_600_000);
  await expect.poll(() => scheduler(id)).toMatchObject({ pattern: HOURLY.cron, tz: HOURLY.timeZone });
  expect(await comes(id)).toBeGreaterThan(Date.now());
  await runs(id, 2);
});

test("Redis holds another schedule → it comes as the ledger says, and no more often", async () => {
  const queue = world.queue("hunt");
  const id = await make([next()]);
  const strange = { pattern: "* * * * *", tz: "UTC", endDate: Date.now() + 86_400_000 };
  await queue.upsertJobScheduler(id, strange, { name: "recur", data: { recurrenceId: id } });
  // Not one of its runs, whoever says so.
  const job = await queue.add("recur", { recurrenceId: id, at: Date.now() });
  await expect.poll(() => job.getState()).toBe("failed");
  await expect.poll(() => scheduler(id)).toMatchObject({ pattern: HOURLY.cron, tz: HOURLY.timeZone });
  expect(await scheduler(id)).not.toHaveProperty("endDate");
  expect(await huntsOf(id)).toEqual([]);
});

test("the job of a run is lost → the run is made up for, once, and the next ones come", async () => {
  const queue = world.queue("hunt");
  const contacts = [next()];
  const id = await make(contacts);
  await world.sql.query("update recurrences set since = now() - interval '3 hours' where id = $1", [id]);
  const { next: nextAt = 0 } = (await scheduler(id)) ?? {};
  const lost = nextAt - 2 * 3_600_000;
  await world.redis.del(queue.toKey(`repeat:${id}:${nextAt}`));
  await world.redis.zrem(queue.toKey("delayed"), `repeat:${id}:${nextAt}`);
  await world.redis.zadd(queue.toKey("repeat"), lost, id);
  await runs(id, 1);
  await expect.poll(() => scheduler(id)).toMatchObject({ next: nextAt });
  expect(await comes(id)).toBe(nextAt);
  await runs(id, 2);
  expect(callsTo(contacts)).toEqual([2]);
});

test("resuming what is not paused → leaves its scheduler alone, whose run may be waiting for a worker", async () => {
  const id = await make([next()]);
  const queue = world.queue("hunt");
  const due = Date.now() - 1000;
  const dueJob = `repeat:${id}:${due}`;
  // Again, should a round of the sweeper that began before it was made schedule it once more meanwhile.
  await until(
    async () => {
      const job = `repeat:${id}:${(await scheduler(id))?.next}`;
      await world.redis.rename(queue.toKey(job), queue.toKey(dueJob));
      await world.redis.zrem(queue.toKey("delayed"), job);
      await world.redis.zadd(queue.toKey("delayed"), 4096 * (due + 3_600_000), dueJob);
      await world.redis.zadd(queue.toKey("repeat"), due, id);
      expect(await call("POST", at(id, "/resume"))).toMatchObject({ status: 200, body: { pausedAt: null } });
      return (await scheduler(id))?.next;
    },
    (nextAt) => nextAt === due,
    10_000,
  );
  expect(await queue.getJob(dueJob)).toBeDefined();
});

test("the night on which clocks are put forward → a run at what is leapt over comes at the leap, in Redis too", async () => {
  const year = new Date().getUTCFullYear() + 1;
  const leap = 31 - new Date(Date.UTC(year, 2, 31)).getUTCDay();
  const cron = `30 2 ${leap - 1},${leap} 3 *`;
  const id = await make([next()], { cron });
  expect((await read(id)).nextRunAt).toBe(`${year}-03-${leap - 1}T01:30:00.000Z`);
  await comes(id);
  // What its worker schedules next.
  await expect
    .poll(async () => new Date((await scheduler(id))?.next ?? 0).toISOString())
    .toBe(`${year}-03-${leap}T01:00:00.000Z`);
  await expect.poll(() => comes(id)).toBe(Date.UTC(year, 2, leap, 1));
  await runs(id, 2);
});

test("pause, resume, count and delete → end its runs; another account has none of it", async () => {
  const id = await make([next()], { count: 1 });
  expect(await call("POST", at(id, "/pause"))).toMatchObject({ status: 200, body: { nextRunAt: null } });
  expect(await scheduler(id)).toBeUndefined();
  const late = { name: "recur", data: { recurrenceId: id, at: Math.floor(Date.now() / 3_600_000) * 3_600_000 } };
  const ended = async (): Promise<void> => {
    const job = await world.queue("hunt").add(late.name, late.data);
    await expect.poll(() => job.getState()).toBe("completed");
  };
  await ended();
  expect(await huntsOf(id)).toEqual([]);
  expect(await call("POST", at(id, "/resume"))).toMatchObject({
    body: { pausedAt: null, nextRunAt: expect.any(String) },
  });
  const time = await comes(id);
  await runs(id, 1);
  // That was all.
  expect(await read(id)).toMatchObject({ runs: 1, nextRunAt: null });
  await expect.poll(() => scheduler(id)).toBeUndefined();
  expect((await messagesOf(service, huntOf(id, time))).length).toBe(1);

  const second = await make([next()]);
  const strange = await world.account();
  expect(await call("DELETE", `/api/recurrences/${second}?accountId=${strange}`)).toMatchObject({ status: 404 });
  const listed = await call("GET", `/api/recurrences?accountId=${accountId}&limit=1000`);
  expect(listed.body.recurrences.map(({ recurrenceId }: Answer["body"]) => recurrenceId)).toContain(second);
  expect(await call("DELETE", at(second))).toMatchObject({ status: 200, body: { recurrenceId: second } });
  expect(await call("DELETE", at(second))).toMatchObject({ status: 404 });
  expect(await scheduler(second)).toBeUndefined();
  late.data.recurrenceId = second;
  await ended();
  expect(await huntsOf(second)).toEqual([]);
  const { rows } = await world.sql.query("select 1 from hunt_chunks where job_id = $1", [second]);
  expect(rows).toEqual([]);
});

test("a recurrence that is changed → its next run comes, says and goes to whom it says now; what is wrong changes nothing", async () => {
  const [plain, other, added] = [next({ message: undefined }), next(), next({ message: undefined })];
  const id = await make([plain, other], {}, { template: "Bonjour" });
  const change = (body: object) => call("PATCH", at(id), body);
  const texts = async (millis: number) => {
    const query = "select recipient as to, content ->> 'text' as text from messages where hunt_id = $1 order by seq";
    return (await world.sql.query(query, [huntOf(id, millis)])).rows;
  };
  const before = await scheduler(id);
  expect(
    await change({ name: "Half past", cron: "30 * * * *", hunt: { template: "Salut", priority: "high" } }),
  ).toMatchObject({
    status: 200,
    body: { name: "Half past", cron: "30 * * * *", contacts: 2, nextRunAt: expect.stringMatching(/:30:00/) },
  });
  expect(await scheduler(id)).toMatchObject({ pattern: "30 * * * *" });
  expect((await scheduler(id))?.next).not.toBe(before?.next);

  const { templateId } = (await service.post("/api/templates", { accountId, name: "t", text: "x" })).body;
  await call("DELETE", `/api/templates/${templateId}?accountId=${accountId}`);
  const wrong: [object, string[]][] = [
    [{}, [""]],
    [
      { cron: "* *", until: "x", hunt: { sendAt: "x", priority: "x" } },
      ["/cron", "/hunt/priority", "/hunt/sendAt", "/until"],
    ],
    [{ until: new Date().toISOString() }, ["/until"]],
    [{ hunt: { templates: { whatsapp_text: "x" } } }, ["/hunt"]],
    [{ hunt: { contacts: [plain] } }, ["/hunt/contacts/0/message"]],
  ];
  for (const [body, pointers] of wrong) {
    const { status, body: problem } = await change(body);
    expect([status, problem.errors.map((each: { pointer: string }) => each.pointer).toSorted()]).toEqual([
      400,
      pointers,
    ]);
  }
  expect(await change({ hunt: { templateId } })).toMatchObject({ status: 409, body: { code: "template_archived" } });
  const strange = await world.account();
  expect(await call("PATCH", `/api/recurrences/${id}?accountId=${strange}`, { name: "x" })).toMatchObject({
    status: 404,
  });
  const first = await comes(id);
  await runs(id, 1);
  expect(await texts(first)).toEqual([
    { to: plain["recipientPhone"], text: "Salut" },
    { to: other["recipientPhone"], text: "Bonjour" },
  ]);
  expect((await service.get(`/api/hunts/${encodeURIComponent(huntOf(id, first))}`)).body).toMatchObject({
    priority: "high",
  });

  expect(await change({ count: 1, hunt: { template: "Ciao", contacts: [added] } })).toMatchObject({
    body: { count: 1, contacts: 1, nextRunAt: null },
  });
  const chunks = "select no > 0 as later from hunt_chunks where job_id = $1";
  expect((await world.sql.query(chunks, [id])).rows).toEqual([{ later: true }]);
  await world.sql.query(
    "insert into hunt_chunks (job_id, no, size, contacts, created_at) values ($1, 7, 1, '[{}]', now() - interval '2 hours')",
    [id],
  );
  await expect.poll(() => scheduler(id)).toBeUndefined();
  // It was over: none of what it would have been is made up for.
  const past =
    "update recurrences set since = now() - interval '3 hours', begun_at = null, last_run_at = null where id = $1";
  await world.sql.query(past, [id]);
  expect(await change({ count: null })).toMatchObject({ body: { nextRunAt: expect.any(String) } });
  const fresh = "select since > now() - interval '1 minute' as fresh from recurrences where id = $1";
  expect((await world.sql.query(fresh, [id])).rows).toEqual([{ fresh: true }]);
  await change({ cron: "45 * * * *" });
  const second = await until(
    () => comes(id),
    (millis) => millis > 0,
  );
  expect(second).toBeGreaterThan(Date.now());
  await runs(id, 2);
  expect((await messagesOf(service, huntOf(id, second))).map(({ adId }) => adId)).toEqual([added["adId"]]);
  expect(callsTo([plain, other, added])).toEqual([1, 1, 1]);
  expect((await world.sql.query(chunks, [id])).rows).toEqual([{ later: true }]);
});

test("a person who was erased → is in no further run, and what is staged outlives the tidying", async () => {
  const contacts = [next(), next()];
  const id = await make(contacts);
  const gone = String(contacts[0]?.["recipientPhone"]);
  await world.sql.query("update hunt_chunks set created_at = now() - interval '2 hours' where job_id = $1", [id]);
  await world.sql.query("select tidy()");
  expect(await call("DELETE", `/api/contacts/${encodeURIComponent(gone)}`)).toMatchObject({ status: 200 });
  const { rows } = await world.sql.query("select contacts::text as text from hunt_chunks where job_id = $1", [id]);
  expect(rows).toEqual([{ text: expect.not.stringContaining(gone) }]);
  await comes(id);
  await runs(id, 1);
  expect(callsTo(contacts)).toEqual([0, 1]);
});

test("what is wrong with a recurrence → is told at once, where it is; a key makes one of it", async () => {
  const post = (fields: object, headers: Record<string, string> = {}) =>
    service.post("/api/recurrences", { accountId, ...HOURLY, hunt: { contacts: [next()] }, ...fields }, headers);
  const faultsOf = async (fields: object): Promise<string[]> =>
    (await post(fields)).body.errors.map(({ pointer }: { pointer: string }) => pointer);
  expect(await faultsOf({ cron: "* * * * * *", timeZone: "Paris", count: 0 })).toEqual([
    "/cron",
    "/timeZone",
    "/count",
  ]);
  expect(await faultsOf({ cron: "99 * * * *" })).toEqual(["/cron"]);
  for (const cron of ["0 9 31 2 *", "0 9 31 2,4 *"])
    expect((await post({ cron })).body.errors).toEqual([
      { pointer: "/cron", detail: expect.stringMatching(/^never comes/) },
    ]);
  expect(await faultsOf({ until: "2020-01-01T00:00:00Z" })).toEqual(["/until"]);
  const hunt = {
    huntId: "mine",
    template: "{{ x",
    contacts: [next({ sendAt: "2020-01-01T00:00:00Z" }), { adId: "a" }],
  };
  expect(await faultsOf({ hunt })).toEqual(
    expect.arrayContaining(["/hunt/huntId", "/hunt/template", "/hunt/contacts/1/recipientPhone"]),
  );
  expect(await faultsOf({ hunt: { contacts: [next({ sendAt: "2020-01-01T00:00:00Z" })] } })).toEqual([
    "/hunt/contacts/0/sendAt",
  ]);
  expect(await post({ accountId: "nobody" })).toMatchObject({ status: 422, body: { code: "unknown_account" } });
  const body = { hunt: { contacts: [next()] } };
  const key = { "idempotency-key": `recurring ${accountId}` };
  const first = await post(body, key);
  expect((await post(body, key)).body).toEqual(first.body);
  expect(await post({ ...body, name: "x" }, key)).toMatchObject({ status: 409 });
  const template = { accountId, name: "t", text: "Bonjour" };
  const { templateId } = (await service.post("/api/templates", template)).body;
  const stored = { hunt: { templateId, contacts: [next({ message: undefined })] } };
  const before = await post(stored, { "idempotency-key": `archived ${accountId}` });
  await call("DELETE", `/api/templates/${templateId}?accountId=${accountId}`);
  expect(await post(stored)).toMatchObject({ status: 409, body: { code: "template_archived" } });
  expect(await post(stored, { "idempotency-key": `archived ${accountId}` })).toMatchObject({ body: before.body });
});
