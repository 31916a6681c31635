import { randomUUID } from "node:crypto";
import { Queue, Worker } from "bullmq";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { MessageJob } from "../../src/channels/message-job.ts";
import { bundleProgress } from "../../src/queues/bundle-progress.ts";
import { createBundles } from "../../src/queues/bundles.ts";
import type { NewMessageJob } from "../../src/queues/index.ts";
import { runBundle } from "../../src/workers/run-bundle.ts";
import type { JobResult } from "../../src/workers/run-job.ts";
import type { Task } from "../../src/workers/task.ts";
import { finished, huntId, messagesOf, phone, run, submit } from "../helpers/hunts.ts";
import { until } from "../helpers/ledger.ts";
import {
  accept,
  ambiguous,
  notSent,
  refusal,
  scriptedProvider,
  type Script,
  type ScriptedProvider,
} from "../helpers/scripted.ts";
import { contact, openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";

let world: World;
let provider: ScriptedProvider;
let service: TestService;
let queue: Queue;
let script: Script = accept;
let last = 0;
let accountId: string;

const ENVIRONMENT = { WORKER_CONCURRENCY: "8", SWEEP_MS: "200", JOB_BACKOFF_MS: "20" };
const start = (environment: Record<string, string> = {}) =>
  world.start({ ...ENVIRONMENT, ...environment }, { providers: { sms: provider } });

beforeAll(async () => {
  world = await openWorld();
  accountId = await world.account();
  provider = scriptedProvider((request, signal) => script(request, signal), { timeoutMs: 30_000 });
  service = await start();
  queue = new Queue("sms", { connection: world.redis, prefix: world.prefix });
});
afterAll(async () => {
  await queue.close();
  await world[Symbol.asyncDispose]();
});
beforeEach(() => {
  script = accept;
});

/** So many numbers of their own, and a hunt of them. */
function people(count: number) {
  const numbers = Array.from({ length: count }, () => phone((last += 1)));
  const contacts = numbers.map((recipientPhone, i) => contact({ adId: `ad_${i}`, recipientPhone }));
  return { numbers, contacts };
}

/** What the provider does is up to the test, one call a number. */
function byHand() {
  const answers = new Map<string, PromiseWithResolvers<{ providerMessageId: string }>>();
  script = ({ to }) => {
    const answer = Promise.withResolvers<{ providerMessageId: string }>();
    answers.set(to, answer);
    return answer.promise;
  };
  return {
    answers,
    accept: (to: string) => answers.get(to)?.resolve({ providerMessageId: `scripted:${to}` }),
    called: (count: number) =>
      until(
        async () => answers.size,
        (size) => size === count,
      ),
  };
}

/** A job that is gone is there again: the sweeper has been through everything. */
async function sweeperHasLooked(): Promise<void> {
  const single = { recipientPhone: phone((last += 1)), message: "Bonjour" };
  const { messageId } = (await service.post("/api/phone/sms", single)).body;
  await queue.remove(messageId);
  await world.sql.query("update messages set updated_at = now() - interval '1 minute' where id = $1", [messageId]);
  await until(
    () => queue.getJob(messageId),
    (job) => job !== undefined,
  );
}

const callsOf = (numbers: readonly string[]): number[] => numbers.map((to) => provider.callsTo(to));
const once = (numbers: readonly string[]): number[] => numbers.map(() => 1);
const waiting = async () => (await queue.getJobs(["waiting"])).map(({ name, id }) => ({ name, id: id ?? "" }));
const bundlesOf = (jobs: { name: string }[]): number => jobs.filter(({ name }) => name === "bundle").length;

test("a hunt → its messages share jobs; each is called once, and nothing of them is left in Redis", async () => {
  await queue.pause();
  const { numbers, contacts } = people(6);
  const { jobId } = await submit(service, { accountId, contacts });
  const jobs = await until(waiting, (each) => each.length === 3);
  expect(bundlesOf(jobs)).toBe(3);
  await queue.resume();
  expect(await finished(service, jobId)).toMatchObject({ counts: { sent: 6 } });
  expect(callsOf(numbers)).toEqual(once(numbers));
  await until(
    () => queue.getJobCountByTypes("waiting", "active", "delayed", "completed", "failed"),
    (n) => n === 0,
  );
});

test("what waits in a bundle of a paused queue → is given no second job by the sweeper", async () => {
  await queue.pause();
  const { numbers, contacts } = people(4);
  const { jobId } = await submit(service, { accountId, contacts });
  await until(waiting, (each) => each.length === 2);
  await world.sql.query("update messages set updated_at = now() - interval '1 minute' where status = 'queued'");
  await sweeperHasLooked();
  expect(bundlesOf(await waiting())).toBe(2);
  expect((await waiting()).filter(({ name }) => name !== "bundle")).toHaveLength(1);
  await queue.resume();
  await finished(service, jobId);
  expect(callsOf(numbers)).toEqual(once(numbers));
});

test("one who is refused among others → alone has a failed job, which says why", async () => {
  const { numbers, contacts } = people(4);
  script = (request, signal) => {
    if (request.to === numbers[1]) throw refusal("not_a_phone");
    return accept(request, signal);
  };
  const { huntId: id } = await run(service, { huntId: huntId(), accountId, contacts });
  const messages = await messagesOf(service, id);
  expect(messages.map(({ status }) => status)).toEqual(["sent", "failed", "sent", "sent"]);
  const { messageId } = messages[1] ?? {};
  const failed = await until(
    async () => (await service.get("/api/queues/sms/failed")).body.jobs as Record<string, unknown>[],
    (jobs) => jobs.length > 0,
  );
  expect(failed).toMatchObject([{ messageId }]);
  expect(JSON.stringify(failed)).toContain("not_a_phone");
  expect(callsOf(numbers)).toEqual(once(numbers));
});

test("one who has left while others are under way → neither their number nor their text is in the bundle any more", async () => {
  const { numbers, contacts } = people(2);
  const hand = byHand();
  const held = script;
  script = (request, signal) => {
    if (request.to === numbers[0]) throw refusal("not_a_phone");
    return held(request, signal);
  };
  const { jobId } = await submit(service, { accountId, contacts });
  await hand.called(1);
  const active = await until(
    async () => JSON.stringify((await queue.getJobs(["active"])).map(({ data }) => data as unknown)),
    (data) => !data.includes(numbers[0] ?? ""),
  );
  expect(active).toContain(numbers[1]);
  hand.accept(numbers[1] ?? "");
  expect(await finished(service, jobId)).toMatchObject({ counts: { sent: 1, failed: 1 } });
});

test("a bundle whose worker has died → each that is not over has a job of its own, which tells how far it came", async () => {
  const messages = people(3).numbers.map((to) => ({ messageId: randomUUID(), channel: "sms", to, content: {} }));
  const [over, called, untried] = messages.map(({ messageId }) => messageId) as [string, string, string];
  const elsewhere = new Queue("elsewhere", { connection: world.redis, prefix: world.prefix });
  const connection = world.redis.duplicate({ maxRetriesPerRequest: null });
  const worker = new Worker("elsewhere", null, { connection, prefix: world.prefix, autorun: false });
  const register = createBundles(world.redis, () => elsewhere, { age: 60, count: 10 });
  const given: NewMessageJob[] = [];
  const reached = Promise.withResolvers<void>();
  const attempt = randomUUID();
  const sent = { messageId: over, attemptId: attempt, result: "sent", provider: "scripted", suppress: false } as const;
  const run = async (task: Task, begins: () => void): Promise<JobResult> => {
    begins();
    if (task.id === untried) return new Promise(() => {});
    await task.keep({ ...(task.data as MessageJob), attempt });
    if (task.id === over) {
      await task.keep({ ...(task.data as MessageJob), attempt, outcome: sent });
      return { status: "sent" };
    }
    reached.resolve();
    return new Promise(() => {});
  };
  const take = async () => {
    const job = await worker.getNextJob(randomUUID());
    if (!job) throw new Error("There is no job.");
    const ended = runBundle(job, {
      run,
      enqueue: async (jobs) => void given.push(...jobs),
      register,
      progressOf: (bundle) => bundleProgress(world.redis, elsewhere.toKey(bundle)),
      onEnd: () => {},
      attempts: 3,
      backoffMs: 10,
    });
    return { job, ended };
  };
  await elsewhere.add("bundle", { messages }, { jobId: "bundle-3-dies" });
  const { job } = await take();
  await reached.promise;
  await until(
    () => register.outcomes("elsewhere", [over]),
    (kept) => kept.length === 1,
  );
  await job.moveToWait(job.token);
  await (
    await take()
  ).ended;
  expect(given.map(({ data }) => [data.messageId, data.attempt])).toEqual([
    [called, attempt],
    [untried, undefined],
  ]);
  await worker.close();
  await elsewhere.close();
  await connection.quit();
});

test("a bundle that another worker has finished meanwhile → whoever comes late leaves nothing in the queues but what must go on", async () => {
  const messages = people(3).numbers.map((to) => ({ messageId: randomUUID(), channel: "sms", to, content: {} }));
  const [skipped, later] = messages.map(({ messageId }) => messageId);
  const elsewhere = new Queue("elsewhere", { connection: world.redis, prefix: world.prefix });
  const connection = world.redis.duplicate({ maxRetriesPerRequest: null });
  const worker = new Worker("elsewhere", null, { connection, prefix: world.prefix, autorun: false });
  const given: NewMessageJob[] = [];
  const ends: string[] = [];
  await elsewhere.add("bundle", { messages }, { jobId: "bundle-3-late" });
  const job = await worker.getNextJob(randomUUID());
  if (!job) throw new Error("There is no job.");
  const run = async (task: Task, begins: () => void): Promise<JobResult> => {
    begins();
    await world.redis.del(elsewhere.toKey("bundle-3-late"));
    if (task.id === later) return task.later(10);
    return { status: task.id === skipped ? "skipped" : "sent" };
  };
  await runBundle(job, {
    run,
    enqueue: async (jobs) => void given.push(...jobs),
    register: createBundles(world.redis, () => elsewhere, { age: 60, count: 10 }),
    progressOf: (bundle) => bundleProgress(world.redis, elsewhere.toKey(bundle)),
    onEnd: ({ status }) => void ends.push(status),
    attempts: 3,
    backoffMs: 10,
  });
  expect(given.map(({ data }) => data.messageId)).toEqual([later]);
  expect(ends.toSorted()).toEqual(["sent", "skipped"]);
  expect(await world.redis.exists(elsewhere.toKey("bundle-3-late"))).toBe(0);
  await worker.close();
  await elsewhere.close();
  await connection.quit();
});

test("one whose entry makes no sense among others → fails at once and alone, and is shown", async () => {
  await queue.pause();
  const { numbers, contacts } = people(4);
  const { jobId } = await submit(service, { accountId, contacts });
  const jobs = await until(
    () => queue.getJobs(["waiting"]),
    (each) => each.length === 2,
  );
  const broken = numbers[2] ?? "";
  for (const job of jobs) {
    const { messages } = job.data as { messages: { to: string }[] };
    await job.updateData({ messages: messages.map((each) => (each.to === broken ? { ...each, to: "nobody" } : each)) });
  }
  await queue.resume();
  expect(await finished(service, jobId)).toMatchObject({ counts: { sent: 3, failed: 1 } });
  expect(callsOf(numbers)).toEqual([1, 1, 0, 1]);
  const failed = await until(
    async () => (await service.get("/api/queues/sms/failed")).body.jobs as { error: string }[],
    (list) => JSON.stringify(list).includes("payload is not valid"),
  );
  expect(JSON.stringify(failed)).toContain("invalid_job");
});

test("one who fails for a moment → has as many tries as a message with a job of its own", async () => {
  const { numbers, contacts } = people(3);
  script = (request, signal) => {
    if (request.to === numbers[0]) throw notSent();
    return accept(request, signal);
  };
  const { huntId: id } = await run(service, { huntId: huntId(), accountId, contacts });
  expect((await messagesOf(service, id)).map(({ status }) => status)).toEqual(["failed", "sent", "sent"]);
  expect(callsOf(numbers)).toEqual([3, 1, 1]);
});

test("more than the queue's concurrency → no more calls than that are under way", async () => {
  const hand = byHand();
  const { numbers, contacts } = people(20);
  const { jobId } = await submit(service, { accountId, contacts });
  await hand.called(8);
  hand.accept(numbers[0] ?? "");
  await hand.called(9);
  expect(hand.answers.size).toBe(9);
  for (const to of numbers) {
    await until(async () => hand.answers.has(to), Boolean);
    hand.accept(to);
  }
  expect(await finished(service, jobId)).toMatchObject({ counts: { sent: 20 } });
  expect(callsOf(numbers)).toEqual(once(numbers));
});

test("a person who is erased while their bundle waits → is taken out of it, and the others go on", async () => {
  await queue.pause();
  const { numbers, contacts } = people(4);
  const { jobId } = await submit(service, { accountId, contacts });
  await until(waiting, (each) => each.length === 2);
  const gone = numbers[2] ?? "";
  const erased = await fetch(`${service.url}/api/contacts/${encodeURIComponent(gone)}`, {
    method: "DELETE",
    headers: { authorization: `Bearer ${SECRET}` },
  });
  expect(erased.status).toBe(200);
  expect(JSON.stringify(await queue.getJobs(["waiting"]))).not.toContain(gone.slice(1));
  await queue.resume();
  await finished(service, jobId);
  expect(callsOf(numbers)).toEqual([1, 1, 0, 1]);
});

test("a ledger that forgets having fed a hunt → what was in a bundle is not called again, and it learns what became of it", async () => {
  const { numbers, contacts } = people(6);
  script = (request, signal) => {
    if (request.to === numbers[1]) throw ambiguous();
    // It is sent by a job of its own.
    if (request.to === numbers[2] && provider.callsTo(request.to) === 1) throw notSent();
    return accept(request, signal);
  };
  const { huntId: id } = await run(service, { huntId: huntId(), accountId, contacts });
  const called = callsOf(numbers);
  expect(called).toEqual([1, 1, 2, 1, 1, 1]);
  const before = await messagesOf(service, id);
  const client = await world.sql.connect();
  try {
    await client.query("begin");
    await client.query("set local session_replication_role = replica");
    const ours = "message_id in (select id from messages where hunt_id = $1)";
    await client.query(`delete from message_events where ${ours}`, [id]);
    await client.query(
      `update messages set status = 'queued', settled_at = null, sent_at = null, provider_message_id = null, code = null,
         attempt_id = null, attempts = 0, held_until = null, credit = 'reserved' where hunt_id = $1`,
      [id],
    );
    await client.query("update flows set fed_seq = 0, due_at = now() where hunt_id = $1", [id]);
    await client.query("commit");
  } finally {
    client.release();
  }
  const after = await until(
    () => messagesOf(service, id),
    (messages) => messages.every(({ status }) => status === "sent" || status === "unknown"),
  );
  expect(after.map(({ status }) => status)).toEqual(before.map(({ status }) => status));
  expect(callsOf(numbers)).toEqual(called);
});

test("the service stops → what has begun comes to its end, the rest goes back at once and is sent by the next one", async () => {
  const hand = byHand();
  const { numbers, contacts } = people(20);
  const { jobId } = await submit(service, { accountId, contacts });
  await hand.called(8);
  const stopped = service.stop();
  // It is not waited for the calls.
  await until(
    () => queue.getJobCountByTypes("waiting", "delayed", "prioritized"),
    (count) => count >= 1,
  );
  for (const to of hand.answers.keys()) hand.accept(to);
  expect(await stopped).toBe(true);
  const begun = [...hand.answers.keys()];
  expect(begun).toHaveLength(8);
  script = accept;
  service = await start();
  expect(await finished(service, jobId)).toMatchObject({ counts: { sent: 20 } });
  expect(callsOf(numbers)).toEqual(once(numbers));
});

test("more than one process has slots for → what waits there goes to another that has some", async () => {
  const hand = byHand();
  // As many as are fed before it is known how fast they begin.
  const { numbers, contacts } = people(10);
  const { jobId } = await submit(service, { accountId, contacts });
  await hand.called(8);
  const other = await start();
  await hand.called(10);
  for (const to of numbers) hand.accept(to);
  expect(await finished(service, jobId)).toMatchObject({ counts: { sent: 10 } });
  expect(callsOf(numbers)).toEqual(once(numbers));
  await other.stop();
});
