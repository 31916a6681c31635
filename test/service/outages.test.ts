import { describe, expect, test, type TestContext } from "vitest";
import { huntId, phone } from "../helpers/hunts.ts";
import { contacts, countsOf, settled, statusOf, twice, until } from "../helpers/ledger.ts";
import { openRedis, type OwnRedis } from "../helpers/redis-server.ts";
import type { Reconciliation } from "../../src/channels/provider.ts";
import { accept, ambiguous, scriptedProvider, type Script } from "../helpers/scripted.ts";
import { openWorld, type TestService, type World } from "../helpers/service.ts";

/** Longer than a blocked worker waits before it asks Redis again: outages of that length have stopped BullMQ for good. */
const LONG_OUTAGE_MS = 6000;

interface Copied {
  key: string;
  value: Buffer;
  ttlMs: number;
}

/** A world that ends with its test, its own Redis, and a provider that needs a moment for each message. */
async function open({ onTestFinished }: TestContext, script: Script = slowly(50)) {
  const resources = new AsyncDisposableStack();
  onTestFinished(() => resources.disposeAsync());
  const redis = resources.use(await openRedis());
  const world = resources.use(await openWorld());
  const sms = scriptedProvider(script);
  const start = (environment: Record<string, string> = {}): Promise<TestService> =>
    world.start({ REDIS_URL: redis.url, ...environment }, { providers: { sms } });
  return { redis, world, sms, start };
}

function slowly(latencyMs: number): Script {
  return (request, signal) =>
    new Promise((resolve) => void setTimeout(() => resolve(accept(request, signal)), latencyMs));
}

async function hunt(service: TestService, world: World, size: number, first = 0): Promise<string> {
  const accountId = await world.account();
  const body = { huntId: huntId(), accountId, contacts: contacts(size, first) };
  const answer = await service.post("/api/hunt/execute", body);
  expect(answer.status).toBe(202);
  return answer.body.jobId;
}

async function ready(service: TestService): Promise<number> {
  return (await service.get("/ready")).status;
}

/** What the database looks like from a service whose way to it is cut. */
async function checks(service: TestService): Promise<Record<string, { ok: boolean }>> {
  return (await service.get("/ready")).body.checks;
}

/** Nothing waits, runs or is delayed in any queue. */
async function queuesAreEmpty(service: TestService): Promise<void> {
  const left = async () => {
    const { queues } = (await service.get("/api/queues/stats")).body as { queues: Record<string, number>[] };
    return queues.reduce((sum, { waiting = 0, active = 0, delayed = 0 }) => sum + waiting + active + delayed, 0);
  };
  await until(left, (jobs) => jobs === 0);
}

/** The next message is sent within that time of the dependency's return. */
const RECOVERY_MS = 15_000;

/** Waits for the next message to be sent, and says how long that took, for whoever compares runs. */
async function recovered({ annotate }: TestContext, world: World, what: string): Promise<void> {
  const since = performance.now();
  const { sent: before = 0 } = await countsOf(world);
  await until(
    () => countsOf(world),
    ({ sent = 0 }) => sent > before,
  );
  const took = performance.now() - since;
  await annotate(`first message after ${what}: ${(took / 1000).toFixed(1)} s`);
  expect(took).toBeLessThan(RECOVERY_MS);
}

describe.concurrent("Redis", { timeout: 120_000 }, () => {
  test("killed under load and back after a while: /ready tells, the workers go on, nothing is lost or sent twice", async (context) => {
    const { expect } = context;
    const { redis, world, sms, start } = await open(context);
    const service = await start();
    await expect.poll(() => ready(service)).toBe(200);
    await hunt(service, world, 150);
    await expect.poll(() => sms.calls.length).toBeGreaterThan(50);

    await redis.kill();
    const since = performance.now();
    await expect.poll(async () => (await checks(service))["redis"]?.ok).toBe(false);
    expect(await ready(service)).toBe(503);
    await expect.poll(() => performance.now() - since, { interval: 500 }).toBeGreaterThan(LONG_OUTAGE_MS);
    await redis.start();
    await recovered(context, world, "Redis's return");
    await expect.poll(() => ready(service)).toBe(200);
    expect(await settled(world, 150)).toEqual({ sent: 150 });
    expect(twice(sms.calls)).toEqual([]);

    // And what comes now is consumed as ever.
    await hunt(service, world, 20, 150);
    expect(await settled(world, 170)).toEqual({ sent: 170 });
  });

  test("away when work comes: it is accepted all the same, and sent once Redis is back", async (context) => {
    const { expect } = context;
    const { redis, world, sms, start } = await open(context);
    const service = await start();
    await expect.poll(() => ready(service)).toBe(200);
    await redis.kill();
    await hunt(service, world, 10);
    const single = await service.post("/api/phone/sms", { recipientPhone: phone(50), message: "Bonjour" });
    expect(single.status).toBe(202);
    expect(sms.calls).toEqual([]);
    await redis.start();
    await recovered(context, world, "Redis's return");
    expect(await settled(world, 11)).toEqual({ sent: 11 });
    expect(twice(sms.calls)).toEqual([]);
  });

  test("away since before the start: work is accepted at once, and sent when Redis comes", async (context) => {
    const { expect } = context;
    const { redis, world, sms, start } = await open(context);
    await redis.kill();
    const service = await start();
    await hunt(service, world, 5);
    await redis.start();
    expect(await settled(world, 5)).toEqual({ sent: 5 });
    expect(twice(sms.calls)).toEqual([]);
  });

  test("frozen: work is accepted after the time-out, and sent when Redis goes on", async (context) => {
    const { expect } = context;
    const { redis, world, sms, start } = await open(context);
    const service = await start();
    await expect.poll(() => ready(service)).toBe(200);
    redis.freeze();
    await Promise.all([
      hunt(service, world, 5),
      expect.poll(async () => (await checks(service))["redis"]?.ok).toBe(false),
    ]);
    redis.thaw();
    expect(await settled(world, 5)).toEqual({ sent: 5 });
    expect(twice(sms.calls)).toEqual([]);
  });

  test("emptied under load: the ledger refills it, nothing is lost or sent twice", async (context) => {
    const { expect } = context;
    const { redis, world, sms, start } = await open(context);
    const service = await start();
    await hunt(service, world, 100);
    await expect.poll(() => sms.calls.length).toBeGreaterThan(30);
    await redis.client.flushall();
    const since = performance.now();
    expect(await settled(world, 100)).toEqual({ sent: 100 });
    await context.annotate(`all sent after the emptying: ${((performance.now() - since) / 1000).toFixed(1)} s`);
    expect(twice(sms.calls)).toEqual([]);
  });

  test("empty at the start, before a full ledger: queued work goes on, what was sent is left alone", async (context) => {
    const { expect } = context;
    const { redis, world, sms, start } = await open(context);
    const first = await start();
    await hunt(first, world, 100);
    await expect.poll(() => sms.calls.length).toBeGreaterThan(30);
    expect(await first.stop()).toBe(true);
    const { sent, queued } = await countsOf(world);
    expect(sent).toBe(sms.calls.length);
    expect(queued).toBe(100 - sms.calls.length);

    await redis.client.flushall();
    await start();
    expect(await settled(world, 100)).toEqual({ sent: 100 });
    expect(sms.calls).toHaveLength(100);
    expect(twice(sms.calls)).toEqual([]);
  });

  test.for(["while it was planned", "while it was sent"])(
    "restored from a copy of %s re-sends nothing",
    async (when, context) => {
      const { expect } = context;
      const { promise: released, resolve: release } = Promise.withResolvers<void>();
      const { redis, world, sms, start } = await open(context, async (request, signal) => {
        await released;
        return accept(request, signal);
      });
      const service = await start({ WORKER_CONCURRENCY: "3" });
      // With the planner's work still to be done in the copy, or with messages waiting, and three in flight.
      const plan = when === "while it was planned" ? await holdPlanning(world) : undefined;
      await hunt(service, world, 30);
      if (plan) await expect.poll(() => activePlans(redis, world)).toBeGreaterThan(0);
      else await expect.poll(() => sms.calls.length).toBe(3);
      const copy = await dump(redis);
      await plan?.();
      release();
      expect(await settled(world, 30)).toEqual({ sent: 30 });
      await queuesAreEmpty(service);

      await redis.client.flushall();
      await restore(redis, copy);
      await queuesAreEmpty(service);
      expect(await settled(world, 30)).toEqual({ sent: 30 });
      expect(sms.calls).toHaveLength(30);
    },
  );
});

describe.concurrent("the database", { timeout: 120_000 }, () => {
  test("cut off under load: no call without a mark in the ledger, then it goes on by itself", async (context) => {
    const { expect } = context;
    const unmarked: string[] = [];
    let calls = 0;
    const { world, sms, start } = await open(context, async (request, signal) => {
      calls += 1;
      // Past PostgREST: the test's own connections are not cut.
      const mark = "select 1 from messages where id = $1 and attempt_id = $2 and status = 'sending'";
      const { rowCount } = await world.sql.query(mark, [request.messageId, request.attemptId]);
      if (rowCount === 0) unmarked.push(request.messageId);
      return slowly(50)(request, signal);
    });
    const service = await start();
    await hunt(service, world, 150);
    await expect.poll(() => calls, { timeout: 30_000 }).toBeGreaterThan(50);

    await world.database.pausePostgrest();
    await expect.poll(async () => (await checks(service))["database"]?.ok).toBe(false);
    const { sending = 0, sent = 0 } = await countsOf(world);
    expect(calls).toBeLessThanOrEqual(sending + sent);
    expect(calls).toBeLessThan(150);
    await world.database.resumePostgrest();
    await recovered(context, world, "the database's return");
    await expect.poll(() => ready(service)).toBe(200);
    expect(await settled(world, 150)).toEqual({ sent: 150 });
    expect(unmarked).toEqual([]);
    expect(twice(sms.calls)).toEqual([]);
  });

  test("cut off: work is refused quickly, with when to come again, and leaves no trace", async (context) => {
    const { expect } = context;
    const { world, sms, start } = await open(context);
    const service = await start();
    const accountId = await world.account();
    await world.database.pausePostgrest();
    const since = performance.now();
    const answers = await Promise.all([
      service.post("/api/hunt/execute", { huntId: huntId(), accountId, contacts: contacts(3) }),
      service.post("/api/hunt/execute", { huntId: huntId(), accountId, contacts: contacts(600) }),
      service.post("/api/phone/sms", { recipientPhone: phone(1), message: "Bonjour" }),
      service.post("/api/phone/sms", { recipientPhone: phone(1), message: "Bonjour", accountId }),
      service.get("/api/messages/7f1c9c1e-7a55-4b55-9c53-0a6d0b3f1a51"),
    ]);
    expect(performance.now() - since).toBeLessThan(5000);
    for (const { status, headers, body } of answers) {
      expect({ status, code: body.code }).toEqual({ status: 503, code: "database_unavailable" });
      expect(headers.get("content-type")).toContain("application/problem+json");
      expect(Number(headers.get("retry-after"))).toBeGreaterThan(0);
    }
    await world.database.resumePostgrest();
    await expect.poll(() => ready(service)).toBe(200);
    expect(await countsOf(world)).toEqual({});
    expect(sms.calls).toEqual([]);
  });

  test("cut off while a hunt is planned: planning goes on soon after, however long it took", async (context) => {
    const { expect } = context;
    const { redis, world, start } = await open(context);
    const service = await start();
    const release = await holdPlanning(world);
    await hunt(service, world, 20);
    await expect.poll(() => activePlans(redis, world)).toBe(1);
    await world.database.pausePostgrest();
    const failures = () => service.logs.filter(({ queue, msg }) => queue === "hunt" && msg === "job failed").length;
    await expect.poll(failures, { timeout: 30_000 }).toBe(5);
    await release();
    await world.database.resumePostgrest();
    await recovered(context, world, "the database's return");
    expect(await settled(world, 20)).toEqual({ sent: 20 });
  });
});

describe("a provider that breaks off", () => {
  test.for([
    { proof: "accepted", calls: 1, status: "sent" },
    { proof: "not_accepted", calls: 2, status: "sent" },
    { proof: "inconclusive", calls: 1, status: "unknown" },
  ] as const)("and then says $proof: $calls calls, $status", async ({ proof, calls, status }) => {
    await using world = await openWorld();
    let broken = true;
    const answer = { result: proof, providerMessageId: "found" } as Reconciliation;
    const sms = scriptedProvider(
      (request, signal) => {
        if (!broken) return accept(request, signal);
        broken = false;
        throw ambiguous();
      },
      // A hold that is longer than what a message needs otherwise: it must end, whatever comes back meanwhile.
      { reconcileAfterMs: 500, reconcile: async () => answer },
    );
    const service = await world.start({}, { providers: { sms } });
    const body = { recipientPhone: phone(1), message: "Bonjour" };
    const { messageId } = (await service.post("/api/phone/sms", body)).body as { messageId: string };
    await expect.poll(() => statusOf(world, messageId)).toBe(status);
    expect(sms.calls).toHaveLength(calls);
  });
});

/** Lets nobody write messages until it is released, so that a plan job stays where it is. */
async function holdPlanning(world: World): Promise<() => Promise<void>> {
  const client = await world.sql.connect();
  await client.query("begin; lock table messages in exclusive mode");
  return async () => {
    await client.query("rollback");
    client.release();
  };
}

async function activePlans(redis: OwnRedis, world: World): Promise<number> {
  return redis.client.llen(`${world.prefix}:hunt:active`);
}

/** All keys with their values and expiry times: a lock must not live for ever in the copy. */
async function dump({ client }: OwnRedis): Promise<Copied[]> {
  const keys = await client.keys("*");
  const copies = keys.map(async (key) => ({ key, value: await client.dumpBuffer(key), ttlMs: await client.pttl(key) }));
  // Some have expired meanwhile.
  return (await Promise.all(copies)).filter((copy): copy is Copied => copy.value !== null && copy.ttlMs > -2);
}

async function restore({ client }: OwnRedis, copy: Copied[]): Promise<void> {
  for (const { key, value, ttlMs } of copy) await client.restore(key, Math.max(0, ttlMs), value, "REPLACE");
}
