import { Agent, get, request } from "node:http";
import { once } from "node:events";
import { connect } from "node:net";
import { describe, expect, test, type TestContext } from "vitest";
import { startFakeTwilio } from "../fakes/twilio/fake-twilio.ts";
import { openGate } from "../helpers/gate.ts";
import { huntId, phone } from "../helpers/hunts.ts";
import { contacts, countsOf, settled, statusOf, twice } from "../helpers/ledger.ts";
import { type ServiceProcess, startProcess, twilioEnvironment } from "../helpers/process.ts";
import { openRedis } from "../helpers/redis-server.ts";
import { accept, scriptedProvider } from "../helpers/scripted.ts";
import { openWorld, SECRET, type World } from "../helpers/service.ts";

/** Deadlines of a second or less, two for handing back, and a busy machine. */
const NEVER_HANGS_MS = 15_000;

/** A world that ends with its test, and a fake Twilio in it. */
async function open({ onTestFinished }: TestContext, extra: Record<string, string> = {}) {
  const resources = new AsyncDisposableStack();
  onTestFinished(() => resources.disposeAsync());
  const world = resources.use(await openWorld());
  const twilio = resources.use(await startFakeTwilio());
  const environment = { ...world.environment, ...twilioEnvironment(twilio), ...extra };
  const start = async (more: Record<string, string> = {}): Promise<ServiceProcess> =>
    resources.use(await startProcess({ ...environment, ...more }));
  return { world, twilio, start, resources };
}

async function hunt(service: ServiceProcess, world: World, size: number): Promise<void> {
  const accountId = await world.account();
  const answer = await service.post("/api/hunt/execute", { huntId: huntId(), accountId, contacts: contacts(size) });
  expect(answer.status).toBe(202);
}

async function text(service: ServiceProcess, n: number): Promise<string> {
  const answer = await service.post("/api/phone/sms", { recipientPhone: phone(n), message: "Bonjour" });
  expect(answer.status).toBe(202);
  return answer.body.messageId;
}

/** How long the process took to leave after a signal, milliseconds, and its exit code. */
async function leave(
  service: ServiceProcess,
  signal: NodeJS.Signals = "SIGTERM",
): Promise<{ code: number | null; ms: number }> {
  const at = performance.now();
  service.kill(signal);
  const code = await service.exited;
  return { code, ms: performance.now() - at };
}

describe.concurrent("a real process", { timeout: 120_000 }, () => {
  test.for(["SIGTERM", "SIGINT"] as const)(
    "%s under load: what is in flight is recorded, exit 0, and the next process sends only the rest",
    async (signal, context) => {
      const { expect } = context;
      // A call may take its time on a busy machine: one that is given up is not recorded as sent.
      const { world, twilio, start } = await open(context, { TWILIO_TIMEOUT_MS: "20000" });
      twilio.otherwise({ kind: "slow", delayMs: 100 });
      const first = await start();
      await hunt(first, world, 300);
      await expect.poll(() => twilio.accepted.length).toBeGreaterThan(40);

      expect((await leave(first, signal)).code).toBe(0);
      const { sending = 0, sent = 0, queued = 0 } = await countsOf(world);
      expect({ sending, sent, queued }).toEqual({ sending: 0, sent: twilio.accepted.length, queued: 300 - sent });
      expect(queued).toBeGreaterThan(0);

      twilio.otherwise({ kind: "accept" });
      await start();
      expect(await settled(world, 300)).toEqual({ sent: 300 });
      expect(twilio.accepted).toHaveLength(300);
      expect(twice(twilio.accepted)).toEqual([]);
    },
  );

  test("with nothing to do it leaves at once", async (context) => {
    const { expect } = context;
    const { start } = await open(context);
    const service = await start();
    await expect.poll(async () => (await service.get("/ready")).status).toBe(200);
    const { code, ms } = await leave(service);
    await context.annotate(`left after ${Math.round(ms)} ms`);
    expect(code).toBe(0);
    expect(ms).toBeLessThan(5000);
  });

  test.for(["a second signal", "the deadline"])(
    "%s hands running calls back, exit 1: none of them is sent again",
    async (how, context) => {
      const { expect } = context;
      const { world, twilio, start } = await open(context, { TWILIO_TIMEOUT_MS: "4000" });
      twilio.script(phone(1), { kind: "hang", accept: true });
      twilio.script(phone(2), { kind: "hang" });
      const first = await start({
        WORKER_CONCURRENCY: "2",
        SHUTDOWN_TIMEOUT_MS: how === "the deadline" ? "500" : "25000",
      });
      const accepted = await text(first, 1);
      const refused = await text(first, 2);
      await expect.poll(() => [twilio.posted(phone(1)), twilio.posted(phone(2))]).toEqual([1, 1]);
      const waiting = await text(first, 3);

      const at = performance.now();
      first.kill("SIGTERM");
      if (how === "a second signal") {
        await expect.poll(() => first.logs.some(({ msg }) => msg === "signal received")).toBe(true);
        first.kill("SIGTERM");
      }
      expect(await first.exited).toBe(1);
      expect(performance.now() - at).toBeLessThan(NEVER_HANGS_MS);

      await start();
      await settled(world, 3);
      // Twilio's list shows the one; of the other nothing can be proven, so a person decides.
      expect(await statusOf(world, accepted)).toBe("sent");
      expect(await statusOf(world, refused)).toBe("unknown");
      expect(await statusOf(world, waiting)).toBe("sent");
      expect([1, 2, 3].map((n) => twilio.posted(phone(n)))).toEqual([1, 1, 1]);
    },
  );

  test("an outcome that the database was away for is recorded by the next process, from the copy in the job", async (context) => {
    const { expect } = context;
    const { world, twilio, start } = await open(context);
    // None is answered before all are asked and the database is away.
    twilio.otherwise({ kind: "slow", delayMs: 700 });
    const first = await start({ SHUTDOWN_TIMEOUT_MS: "1000" });
    await Promise.all([1, 2, 3].map((n) => text(first, n)));
    await expect.poll(() => twilio.requests.length).toBe(3);
    await world.database.pausePostgrest();
    // However long that takes here.
    const kept = async () => (await world.queue("sms").getJobs(["active"])).filter(({ data }) => data.outcome).length;
    await expect.poll(kept).toBe(3);
    const { code, ms } = await leave(first);
    expect(code).toBe(1);
    expect(ms).toBeLessThan(NEVER_HANGS_MS);
    expect(await countsOf(world)).toEqual({ sending: 3 });

    await world.database.resumePostgrest();
    await start();
    expect(await settled(world, 3)).toEqual({ sent: 3 });
    // Nothing was asked of the provider: the copy was enough.
    expect(twilio.requests.map(({ method }) => method)).toEqual(["POST", "POST", "POST"]);
  });

  test("a database that hangs does not hold the process beyond its deadline", async (context) => {
    const { expect } = context;
    const { world, twilio, start, resources } = await open(context);
    const gate = resources.use(await openGate(world.database.supabaseUrl));
    twilio.otherwise({ kind: "slow", delayMs: 300 });
    const first = await start({ SUPABASE_URL: gate.url, SHUTDOWN_TIMEOUT_MS: "500", DATABASE_TIMEOUT_MS: "60000" });
    await text(first, 1);
    await expect.poll(() => twilio.requests.length).toBe(1);
    gate.freeze();
    await expect.poll(() => twilio.accepted.length).toBe(1);
    const { code, ms } = await leave(first);
    expect(code).toBe(1);
    expect(ms).toBeLessThan(NEVER_HANGS_MS);
    await start();
    expect(await settled(world, 1)).toEqual({ sent: 1 });
    expect(twilio.posted(phone(1))).toBe(1);
  });

  test.for(["gone", "frozen"])(
    "with Redis %s under load it leaves by its deadline, and the rest is sent once",
    async (state, context) => {
      const { expect } = context;
      const { world, twilio, start, resources } = await open(context, { SHUTDOWN_TIMEOUT_MS: "1000" });
      const redis = resources.use(await openRedis());
      twilio.otherwise({ kind: "slow", delayMs: 100 });
      const first = await start({ REDIS_URL: redis.url });
      await hunt(first, world, 100);
      await expect.poll(() => twilio.accepted.length).toBeGreaterThan(20);
      if (state === "gone") await redis.kill();
      else redis.freeze();
      const { code, ms } = await leave(first);
      expect([0, 1]).toContain(code);
      expect(ms).toBeLessThan(NEVER_HANGS_MS);

      if (state === "gone") await redis.start();
      else redis.thaw();
      await start({ REDIS_URL: redis.url });
      expect(await settled(world, 100)).toEqual({ sent: 100 });
      expect(twice(twilio.accepted)).toEqual([]);
    },
  );

  test("a process that never found its Redis leaves by its deadline", async (context) => {
    const { expect } = context;
    const { start } = await open(context, { SHUTDOWN_TIMEOUT_MS: "1000" });
    const service = await start({ REDIS_URL: "redis://127.0.0.1:1" });
    expect((await service.get("/ready")).body.checks.redis.ok).toBe(false);
    const { code, ms } = await leave(service);
    expect([0, 1]).toContain(code);
    expect(ms).toBeLessThan(NEVER_HANGS_MS);
  });
});

describe("while it drains", () => {
  /** A service with one call under way, which the test ends. */
  async function draining({ onTestFinished }: TestContext) {
    const world = await openWorld();
    onTestFinished(() => world[Symbol.asyncDispose]());
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const sms = scriptedProvider(async (send, signal) => {
      await released;
      return accept(send, signal);
    });
    const service = await world.start({}, { providers: { sms } });
    const body = { recipientPhone: phone(1), message: "Bonjour" };
    const { messageId } = (await service.post("/api/phone/sms", body)).body as { messageId: string };
    await expect.poll(() => sms.calls.length).toBe(1);
    return { world, service, release, messageId, body };
  }

  test("/ready says so, new work is refused, reading goes on, and what runs is recorded", async (context) => {
    const { expect } = context;
    const { world, service, release, messageId, body } = await draining(context);
    expect((await service.get("/ready")).status).toBe(200);
    const stopped = service.stop();
    const ready = await service.get("/ready");
    expect(ready).toMatchObject({ status: 503, body: { ready: false, checks: { process: { ok: false } } } });
    const refused = await service.post("/api/phone/sms", body);
    expect(refused).toMatchObject({ status: 503, body: { code: "stopping" } });
    expect(refused.headers.get("content-type")).toContain("application/problem+json");
    expect(refused.headers.get("connection")).toBe("close");
    expect((await service.get("/health")).status).toBe(200);
    release();
    expect(await stopped).toBe(true);
    expect(await statusOf(world, messageId)).toBe("sent");
    expect(await countsOf(world)).toEqual({ sent: 1 });
  });

  test("idle connections are closed at its end: one that has asked, and one that never has", async (context) => {
    const { expect } = context;
    const { service, release } = await draining(context);
    const agent = new Agent({ keepAlive: true });
    context.onTestFinished(() => agent.destroy());
    const [response] = (await once(get(`${service.url}/health`, { agent }), "response")) as [NodeJS.ReadableStream];
    response.resume();
    await once(agent, "free");
    const [socket] = Object.values(agent.freeSockets).flat();
    const silent = connect(Number(new URL(service.url).port), "127.0.0.1");
    context.onTestFinished(() => void silent.destroy());
    await once(silent, "connect");
    const closed = Promise.all([once(socket!, "close"), once(silent, "close")]);
    // The server has taken the connection when it answers on a later one.
    expect((await service.get("/health")).status).toBe(200);
    const stopped = service.stop();
    release();
    expect(await stopped).toBe(true);
    await closed;
  });

  test("a provider that cannot give back what it has is not waited for after the deadline", async (context) => {
    const { expect } = context;
    await using world = await openWorld();
    const sms = { ...scriptedProvider(accept), close: () => new Promise<void>(() => {}) };
    const service = await world.start({}, { providers: { sms } });
    expect(await service.stop(AbortSignal.timeout(100))).toBe(false);
  });

  test("a request that had begun is answered, and its message is in the ledger", async (context) => {
    const { expect } = context;
    const { world, service, release } = await draining(context);
    const body = JSON.stringify({ recipientPhone: phone(2), message: "Bonjour" });
    const headers = {
      authorization: `Bearer ${SECRET}`,
      "content-type": "application/json",
      "content-length": body.length,
    };
    const begun = request(`${service.url}/api/phone/sms`, { method: "POST", headers });
    const answered = once(begun, "response");
    begun.write(body.slice(0, 10));
    // The server has taken the request when it answers a later one.
    expect((await service.get("/health")).status).toBe(200);
    const stopped = service.stop();
    release();
    // Its workers are closed: their connections are gone.
    await expect.poll(async () => (await world.redis.client("LIST")) as string).not.toContain(world.prefix);
    begun.end(body.slice(10));
    const [response] = (await answered) as [NodeJS.ReadableStream & { statusCode: number }];
    expect(response.statusCode).toBe(202);
    response.resume();
    expect(await stopped).toBe(true);
    const { rows } = await world.sql.query("select status from messages where recipient = $1", [phone(2)]);
    expect(rows).toEqual([{ status: "queued" }]);
  });
});
