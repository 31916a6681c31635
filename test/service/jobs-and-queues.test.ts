import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { messageOf, messagesOf, phone, run, settles, statusOf } from "../helpers/hunts.ts";
import { accept, ambiguous, notSent, refusal, scriptedProvider, type ScriptedProvider } from "../helpers/scripted.ts";
import { contact, openWorld, type TestService, type World } from "../helpers/service.ts";

let world: World;
let service: TestService;
let provider: ScriptedProvider;
/** What calls for a number fail with; all others are accepted. */
const errors = new Map<string, () => unknown>();

beforeAll(async () => {
  world = await openWorld();
  provider = scriptedProvider((request, signal) => {
    const error = errors.get(request.to);
    if (error) throw error();
    return accept(request, signal);
  });
  service = await world.start({}, { providers: { sms: provider } });
});
afterAll(() => world[Symbol.asyncDispose]());

let last = 0;

/** A message over SMS that has come to its end; its calls fail with `error`. */
async function ended(status: string, error?: () => unknown): Promise<{ id: string; to: string }> {
  const to = phone((last += 1));
  if (error) errors.set(to, error);
  const { body } = await service.post("/api/phone/sms", { recipientPhone: to, message: "Bonjour" });
  await settles(service, body.messageId, status);
  await expect
    .poll(async () => (await service.get(`/api/jobs/sms/${body.messageId}`)).body.state)
    .toMatch(/completed|failed/);
  return { id: body.messageId, to };
}

const retry = (id: string, headers: Record<string, string> = {}, queue = "sms") =>
  service.post(`/api/jobs/${queue}/${id}/retry`, undefined, headers);

describe("GET /api/jobs/:queue/:jobId", () => {
  test("a job that was sent → completed, with its result and times", async () => {
    const { id } = await ended("sent");
    const { status, body } = await service.get(`/api/jobs/sms/${id}`);
    expect({ status, body }).toMatchObject({
      status: 200,
      body: {
        jobId: id,
        queue: "sms",
        name: "sms",
        state: "completed",
        attempts: 1,
        maxAttempts: 3,
        errors: [],
        result: { status: "sent" },
      },
    });
    const times = [body.createdAt, body.startedAt, body.finishedAt].map((time) => Date.parse(time));
    expect(times).toEqual(times.toSorted());
  });

  test("a job that failed after three tries → failed, with each error in one line and no number", async () => {
    const { id, to } = await ended("failed", () => notSent("line_down"));
    const { body } = await service.get(`/api/jobs/sms/${id}`);
    expect(body).toMatchObject({ state: "failed", attempts: 3, maxAttempts: 3 });
    expect(body.errors).toHaveLength(3);
    expect(body.errors.join()).not.toMatch(/\n| at |node_modules/);
    expect(JSON.stringify(body)).not.toContain(to);
    expect(JSON.stringify(body)).not.toContain("Bonjour");
  });

  test("a job that waits → its state, not started", async () => {
    await world.queue("voice").pause();
    const { body } = await service.post("/api/phone/ringless-voice", { recipientPhone: phone(900), text: "Bonjour" });
    const job = await service.get(`/api/jobs/voice/${body.jobId}`);
    expect(job.body).toMatchObject({ state: "waiting", attempts: 0, startedAt: null, finishedAt: null, result: null });
    await world.queue("voice").resume();
  });

  test("a hunt's job and those of its chunks → are found in the queue hunt; a single chunk has none of its own", async () => {
    const accountId = await world.account();
    const submit = (n: number): ReturnType<typeof run> =>
      run(service, { accountId, contacts: Array.from({ length: n }, () => contact({ recipientPhone: "none" })) });
    const [big, small] = [await submit(501), await submit(1)];
    const jobOf = async (id: string) => (await service.get(`/api/jobs/hunt/${id}`)).body;
    const planned = { state: "completed", result: { queued: 0 } };
    await expect.poll(() => jobOf(small.jobId)).toMatchObject({ ...planned, name: "hunt" });
    await expect.poll(() => jobOf(big.jobId)).toMatchObject({ state: "completed", name: "hunt", result: null });
    for (const no of [0, 1]) expect(await jobOf(`${big.jobId}-${no}`)).toMatchObject({ ...planned, name: "plan" });
    expect(await jobOf(`${small.jobId}-0`)).toMatchObject({ status: 404 });
  });

  test("a hunt's message that never had a job of its own → 404, which says where to look", async () => {
    const contacts = [phone(901), phone(902)].map((recipientPhone) => contact({ recipientPhone }));
    const { huntId } = await run(service, { accountId: await world.account(), contacts });
    const [message] = await messagesOf(service, huntId);
    const { status, body } = await service.get(`/api/jobs/sms/${message.messageId}`);
    expect(status).toBe(404);
    const [, path = ""] = /GET (\S+)\.$/.exec(body.detail) ?? [];
    expect((await service.get(path)).body).toMatchObject({ messageId: message.messageId, status: "sent" });
  });
});

describe("POST …/retry", () => {
  test("a failure that was proven not sent → queued again, sent this time, the calls counted", async () => {
    const { id, to } = await ended("failed", () => notSent());
    errors.delete(to);
    const answer = await retry(id);
    expect(answer).toMatchObject({ status: 202, body: { jobId: id, queue: "sms", messageId: id } });
    expect(await settles(service, id, "sent")).toMatchObject({ attempts: 4, code: null, detail: null });
    expect(provider.callsTo(to)).toBe(4);
    const { rows } = await world.sql.query("select kind from message_events where message_id = $1 order by id", [id]);
    expect(rows.map(({ kind }) => kind)).toEqual(["retry", "retry", "failed", "requeued", "sent"]);
  });

  test("a refusal → can be tried again, and fails again", async () => {
    const { id, to } = await ended("failed", () => refusal());
    expect(await retry(id)).toMatchObject({ status: 202 });
    await expect.poll(() => provider.callsTo(to)).toBe(2);
    await settles(service, id, "failed");
  });

  test("a second time, when it has been sent → 409", async () => {
    const { id, to } = await ended("failed", () => refusal());
    errors.delete(to);
    await retry(id);
    await settles(service, id, "sent");
    expect(await retry(id)).toMatchObject({ status: 409, body: { code: "not_retryable" } });
    expect(provider.callsTo(to)).toBe(2);
  });

  test("ten at once without a key → one is taken, nobody is contacted twice", async () => {
    const { id, to } = await ended("failed", () => refusal());
    errors.delete(to);
    const answers = await Promise.all(Array.from({ length: 10 }, () => retry(id)));
    expect(answers.map(({ status }) => status).toSorted()).toEqual([202, ...Array(9).fill(409)]);
    await settles(service, id, "sent");
    expect(provider.callsTo(to)).toBe(2);
  });

  test("the same Idempotency-Key again → the same answer, tried once", async () => {
    const { id, to } = await ended("failed", () => refusal());
    errors.delete(to);
    const headers = { "Idempotency-Key": randomUUID() };
    const first = await retry(id, headers);
    await settles(service, id, "sent");
    expect(await retry(id, headers)).toMatchObject({ status: 202, body: first.body });
    expect(provider.callsTo(to)).toBe(2);
  });

  test("the same Idempotency-Key ten times at once → ten equal answers, tried once", async () => {
    const { id, to } = await ended("failed", () => refusal());
    errors.delete(to);
    const headers = { "Idempotency-Key": randomUUID() };
    const answers = await Promise.all(Array.from({ length: 10 }, () => retry(id, headers)));
    expect(answers.map(({ status }) => status)).toEqual(Array(10).fill(202));
    await settles(service, id, "sent");
    expect(provider.callsTo(to)).toBe(2);
  });

  test("sent, delivered, undelivered, skipped or of unknown fate → 409 in words, the state stays", async () => {
    const { id: sent } = await ended("sent");
    const { id: unknown } = await ended("unknown", () => ambiguous());
    const whatsapp = async (recipientPhone: string, status: string): Promise<string> => {
      const { body } = await service.post("/api/whatsapp/text", { recipientPhone, message: "Bonjour" });
      await settles(service, body.messageId, status);
      return body.messageId;
    };
    const delivered = await whatsapp(phone(901), "delivered");
    const undelivered = await whatsapp("+33612340005", "failed");
    await world.sql.query("insert into suppressions (phone) values ($1)", [phone(902)]);
    const skipped = await whatsapp(phone(902), "skipped");
    const cases = {
      sent: [sent, "sms"],
      unknown: [unknown, "sms"],
      delivered: [delivered, "whatsapp"],
      failed: [undelivered, "whatsapp"],
      skipped: [skipped, "whatsapp"],
    };
    for (const [status, [id, queue]] of Object.entries(cases) as [string, [string, string]][]) {
      const answer = await retry(id, {}, queue);
      expect(answer).toMatchObject({
        status: 409,
        body: { code: "not_retryable", detail: expect.stringMatching(/\w+ \w+/) },
      });
      expect((await messageOf(service, id)).status).toBe(status);
    }
  });

  test("a hunt's job, or a job that is no message's → 409", async () => {
    const { jobId } = await run(service, {
      accountId: await world.account(),
      contacts: [contact({ recipientPhone: "none" })],
    });
    expect(await retry(jobId, {}, "hunt")).toMatchObject({ status: 409, body: { code: "not_retryable" } });
    await world.queue("scraping").add("anything", {}, { jobId: "something" });
    expect(await retry("something", {}, "scraping")).toMatchObject({ status: 409 });
  });

  test("a failed message whose job has been cleaned away → is queued again all the same", async () => {
    const { id, to } = await ended("failed", () => refusal());
    errors.delete(to);
    await world.queue("sms").remove(id);
    expect(await retry(id)).toMatchObject({ status: 202 });
    await expect.poll(async () => (await messageOf(service, id)).status, { timeout: 20_000 }).toBe("sent");
  });

  test("a retry of a contact in a hunt → the hunt's counts follow", async () => {
    const to = phone((last += 1));
    errors.set(to, () => refusal());
    const { jobId, huntId } = await run(service, {
      accountId: await world.account(),
      contacts: [contact({ recipientPhone: to })],
    });
    errors.delete(to);
    const [{ messageId }] = await messagesOf(service, huntId);
    await retry(messageId);
    await settles(service, messageId, "sent");
    expect(await statusOf(service, jobId)).toMatchObject({
      total: 1,
      state: "finished",
      counts: { sent: 1, failed: 0 },
    });
  });
});

describe("failed jobs of a queue", () => {
  const failedOf = async (query = "") => (await service.get(`/api/queues/sms/failed${query}`)).body;
  const retryableOf = async (ids: string[]): Promise<{ jobId: string; retryable: boolean }[]> => {
    const { jobs } = await failedOf("?limit=200");
    return ids.map((id) => jobs.find(({ jobId }: { jobId: string }) => jobId === id) ?? {});
  };

  test("each → why it failed, and whether it can be tried again, and if not why, the last first", async () => {
    const safe = await ended("failed", () => refusal("line_down"));
    const doubtful = await ended("failed", () => refusal());
    await world.sql.query("update messages set retryable = false where id = $1", [doubtful.id]);
    const gone = await ended("failed", () => refusal());
    await world.sql.query("delete from messages where id = $1", [gone.id]);
    await world.queue("sms").add("sms", { nonsense: true }, { jobId: "of an intruder" });
    await expect.poll(async () => (await failedOf("?limit=1")).jobs[0]?.jobId).toBe("of an intruder");
    const page = await failedOf("?limit=4");
    expect(page.jobs.map(({ jobId }: { jobId: string }) => jobId)).toEqual([
      "of an intruder",
      gone.id,
      doubtful.id,
      safe.id,
    ]);
    const [intruder, missing, notSafe, good] = page.jobs;
    expect(intruder).toMatchObject({
      messageId: null,
      retryable: false,
      whyNot: expect.stringContaining("not a message"),
    });
    expect(missing).toMatchObject({
      messageId: gone.id,
      retryable: false,
      whyNot: expect.stringContaining("does not know"),
    });
    expect(notSafe).toMatchObject({ retryable: false, whyNot: expect.stringContaining("could send it twice") });
    expect(good).toMatchObject({
      queue: "sms",
      channel: "sms",
      attempts: 1,
      code: "line_down",
      why: "The provider refuses this message.",
      retryable: true,
      whyNot: null,
    });
    expect(JSON.stringify(page)).not.toMatch(/\+336|Bonjour/);
  });

  test("of a hunt that was cancelled, or too late to be sent → not tried again, one by one or all at once, and says on why it failed", async () => {
    const cancelled = phone((last += 1));
    errors.set(cancelled, () => refusal("line_down"));
    const { huntId } = await run(service, {
      accountId: await world.account(),
      contacts: [contact({ recipientPhone: cancelled })],
    });
    const [{ messageId }] = await messagesOf(service, huntId);
    await settles(service, messageId, "failed");
    const late = await ended("failed", () => refusal("line_down"));
    const ids = [messageId, late.id];
    await expect.poll(async () => (await retryableOf(ids)).map(({ retryable }) => retryable)).toEqual([true, true]);
    await service.post(`/api/hunt/${huntId}/cancel`, undefined);
    await world.sql.query("update messages set expires_at = now() where id = $1", [late.id]);
    const over = { retryable: false, whyNot: expect.stringContaining("time is over") };
    expect(await retryableOf(ids)).toMatchObject([over, over]);
    for (const id of ids) {
      const detail = expect.stringContaining("time is over");
      expect(await retry(id)).toMatchObject({ status: 409, body: { code: "not_retryable", detail } });
    }
    expect(await world.sql.query("select retry_messages($1) as answers", [JSON.stringify(ids)])).toMatchObject({
      rows: [{ answers: ids.map((id) => ({ id, result: "hunt_over", status: "failed" })) }],
    });
    for (const id of ids) expect(await messageOf(service, id)).toMatchObject({ status: "failed", code: "line_down" });
  });

  test("in pages, also where many failed in one millisecond → each once", async () => {
    const all = (await failedOf("?limit=200")).jobs.map(({ jobId }: { jobId: string }) => jobId);
    expect(all.length).toBeGreaterThan(4);
    const scores = all.flatMap((id: string, i: number) => [1000 + Math.floor(i / 3), id]);
    await world.redis.zadd(world.queue("sms").toKey("failed"), ...scores);
    const seen: string[] = [];
    let cursor = "";
    do {
      const page = await failedOf(`?limit=2${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
      seen.push(...page.jobs.map(({ jobId }: { jobId: string }) => jobId));
      cursor = page.nextCursor ?? "";
    } while (cursor !== "" && seen.length < 100);
    expect(seen.toSorted()).toEqual(all.toSorted());
    expect((await service.get("/api/queues/sms/failed?cursor=nonsense")).status).toBe(400);
    expect((await service.get("/api/queues/none/failed")).status).toBe(404);
  });

  test("all at once, five times at the same time → the safe ones are sent once more, the others not at all", async () => {
    const accountId = await world.account();
    await world.credits(accountId, "sms", 2);
    const safe = [await ended("failed", () => refusal()), await ended("failed", () => notSent())];
    const doubtful = await ended("failed", () => refusal());
    await world.sql.query("update messages set retryable = false where id = $1", [doubtful.id]);
    const poor = await ended("failed", () => refusal());
    await world.sql.query("update messages set account_id = $2, credit = 'released' where id = $1", [
      poor.id,
      accountId,
    ]);
    await world.sql.query("update credits set balance = 0 where account_id = $1", [accountId]);
    const calls = new Map([...safe, doubtful, poor].map(({ to }) => [to, provider.callsTo(to)]));
    for (const { to } of [...safe, doubtful, poor]) errors.delete(to);
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => service.post("/api/queues/sms/failed/retry", undefined)),
    );
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    for (const { id } of safe) await settles(service, id, "sent");
    for (const { to } of safe) expect(provider.callsTo(to)).toBe(calls.get(to)! + 1);
    for (const { id, to } of [doubtful, poor]) {
      expect((await messageOf(service, id)).status).toBe("failed");
      expect(provider.callsTo(to)).toBe(calls.get(to));
    }
    const { body } = await service.post("/api/queues/sms/failed/retry", undefined);
    expect(body.nextCursor).toBeNull();
    expect(body.refused).toContainEqual({ whyNot: expect.stringContaining("no credit left"), count: 1 });
    expect(body.refused).toContainEqual({
      whyNot: expect.stringContaining("could send it twice"),
      count: expect.any(Number),
    });
  });

  test("one → the same as by its job", async () => {
    const { id, to } = await ended("failed", () => refusal());
    errors.delete(to);
    const path = `/api/queues/sms/failed/${id}/retry`;
    expect(await service.post(path, undefined)).toMatchObject({ status: 202, body: { messageId: id } });
    await settles(service, id, "sent");
    expect(await service.post(path, undefined)).toMatchObject({ status: 409, body: { code: "not_retryable" } });
    expect(provider.callsTo(to)).toBe(2);
  });
});

describe("GET /api/queues", () => {
  const SHAPE = { waiting: 0, active: 0, completed: 0, failed: 0, delayed: 0, prioritized: 0, paused: false };

  test("all queues → each of the registry once, in one shape", async () => {
    const { status, body } = await service.get("/api/queues/stats");
    expect(status).toBe(200);
    expect(body.queues.map(({ name }: { name: string }) => name)).toEqual(
      expect.arrayContaining(["hunt", "whatsapp", "sms", "voice", "inbound", "webhooks", "scraping"]),
    );
    for (const queue of body.queues)
      expect(Object.keys(queue).toSorted()).toEqual(["name", ...Object.keys(SHAPE)].toSorted());
  });

  test("a paused queue → waiting counts plain and prioritised jobs, paused is true", async () => {
    await using fresh = await openWorld();
    const quiet = await fresh.start();
    const stats = async () => (await quiet.get("/api/queues/sms/stats")).body;
    expect(await stats()).toEqual({ ...SHAPE, name: "sms" });
    await fresh.queue("sms").pause();
    // As another producer might put them there.
    for (let i = 0; i < 7; i++) await fresh.queue("sms").add("sms", {}, { priority: 1 });
    for (let i = 0; i < 3; i++)
      await quiet.post("/api/phone/sms", { recipientPhone: phone(100 + i), message: "Bonjour" });
    await expect.poll(stats).toEqual({ ...SHAPE, name: "sms", waiting: 10, prioritized: 7, paused: true });
    await fresh.queue("sms").resume();
    await expect.poll(stats).toEqual({ ...SHAPE, name: "sms", completed: 3, failed: 7 });
  });

  test("failed and delayed jobs → are counted", async () => {
    await using fresh = await openWorld();
    const slow = await fresh.start({ JOB_BACKOFF_MS: "600000" });
    const stats = async () => (await slow.get("/api/queues/sms/stats")).body;
    await slow.post("/api/phone/sms", { recipientPhone: "+33612340001", message: "Bonjour" });
    await slow.post("/api/phone/sms", { recipientPhone: "+33612340003", message: "Bonjour" });
    await expect.poll(stats).toEqual({ ...SHAPE, name: "sms", failed: 1, delayed: 1 });
  });
});
