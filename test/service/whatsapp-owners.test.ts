import { describe, expect, test, type TestContext } from "vitest";
import { TcpProxy } from "../../bench/chaos/tcp-proxy.ts";
import { createSealer } from "../../src/core/sealed.ts";
import type { FakeWhatsApp } from "../fakes/whatsapp/server.ts";
import { openGate } from "../helpers/gate.ts";
import { huntId, phone } from "../helpers/hunts.ts";
import { countsOf, until } from "../helpers/ledger.ts";
import { presetSession } from "../helpers/preset-session.ts";
import { type ServiceProcess, startProcess } from "../helpers/process.ts";
import { openRedis } from "../helpers/redis-server.ts";
import { contact, openWorld, type World } from "../helpers/service.ts";
import { ENCRYPTION_KEY, openFakeWhatsApp, sessionPhone, whatsappEnvironment } from "../helpers/whatsapp.ts";

const LEASE_MS = 5000;
/** Attempts that a process leaves behind are taken over this long after their begin at the latest. */
const ENVIRONMENT = { WHATSAPP_TIMEOUT_MS: "2000", WHATSAPP_LEASE_MS: String(LEASE_MS) };
const SETTLED_MS = 60_000;
const CONNECTED = "a WhatsApp session is connected from here";
const LOST = "the lease of a WhatsApp session is lost: it ends here";

interface Scene {
  world: World;
  fake: FakeWhatsApp;
  /** Of the one session that there is. */
  sender: string;
  sessionId: string;
  accountId: string;
  start(environment?: Record<string, string>): Promise<ServiceProcess>;
  /** The most sockets that the session ever had at once. */
  mostSockets(): number;
}

/** A fake WhatsApp, and an account with a paired session that nobody has connected yet. */
async function open({ onTestFinished }: TestContext): Promise<Scene> {
  const resources = new AsyncDisposableStack();
  onTestFinished(() => resources.disposeAsync());
  const fake = resources.use(await openFakeWhatsApp());
  const world = resources.use(await openWorld());
  const accountId = await world.account();
  const sender = sessionPhone();
  const preset = { accountId, phone: sender, creds: fake.pairedCredsJson(sender), encryptionKey: ENCRYPTION_KEY };
  const sessionId = await presetSession(world.sql, preset);

  let most = 0;
  let over = false;
  resources.defer(() => void (over = true));
  const watched = (): boolean => {
    most = Math.max(most, fake.connected(sender));
    return over;
  };
  fake.waitFor(watched, 600_000).catch(() => {});
  const environment = { ...world.environment, ...whatsappEnvironment(fake, ENVIRONMENT) };
  return {
    world,
    fake,
    sender,
    sessionId,
    accountId,
    start: async (more = {}) => resources.use(await startProcess({ ...environment, ...more })),
    mostSockets: () => most,
  };
}

const connected = ({ fake, sender }: Scene): Promise<number> =>
  until(
    async () => fake.connected(sender),
    (sockets) => sockets === 1,
  );

async function hunt(service: ServiceProcess, { accountId }: Scene, size: number, first = 0): Promise<void> {
  const channel = "whatsapp_text";
  const contacts = Array.from({ length: size }, (_, i) => contact({ recipientPhone: phone(first + i), channel }));
  expect((await service.post("/api/hunt/execute", { huntId: huntId(), accountId, contacts })).status).toBe(202);
}

async function text(service: ServiceProcess, { accountId }: Scene, to: string, message = "Bonjour"): Promise<void> {
  expect((await service.post("/api/whatsapp/text", { accountId, recipientPhone: to, message })).status).toBe(202);
}

/** Waits until so many messages have reached their people, by the ledger and by the fake, each once and readable. */
async function allReached({ world, fake }: Scene, total: number): Promise<void> {
  const counts = await until(
    () => countsOf(world),
    ({ queued = 0, sending = 0, sent = 0, ...rest }) =>
      queued + sending + sent === 0 && Object.values(rest).reduce((sum, n) => sum + n, 0) === total,
    SETTLED_MS,
  );
  expect(counts).toEqual({ delivered: total });
  expect(fake.messages).toHaveLength(total);
  expect(fake.messages.filter(({ message }) => message === undefined)).toEqual([]);
  expect(fake.faults).toEqual([]);
}

const logged = (service: ServiceProcess, words: string): number =>
  service.logs.filter(({ msg }) => msg === words).length;

describe.concurrent("one owner a session", { timeout: 180_000 }, () => {
  test("two processes: one socket, and what is asked of the other one leaves through it", async (context) => {
    const scene = await open(context);
    const services = await Promise.all([scene.start(), scene.start()]);
    await connected(scene);
    for (const [i, service] of services.entries()) {
      await hunt(service, scene, 10, 10 * i);
      await text(service, scene, phone(100 + i));
    }
    await allReached(scene, 22);
    expect(services.map((service) => logged(service, CONNECTED)).toSorted()).toEqual([0, 1]);
    expect(scene.mostSockets()).toBe(1);
    expect(scene.fake.logins(scene.sender)).toBe(1);
  });

  test("kill -9 of the owner under load: another one connects, each person gets the message once", async (context) => {
    const scene = await open(context);
    const { fake, sender } = scene;
    const owner = await scene.start();
    await connected(scene);
    const other = await scene.start();
    fake.onSend({ outcome: "ack", delayMs: 100 });
    await hunt(other, scene, 50);
    await fake.waitFor(() => fake.messages.length >= 10);
    owner.kill("SIGKILL");
    expect(await owner.exited).toBeNull();
    await until(
      async () => fake.logins(sender),
      (logins) => logins === 2,
    );
    await allReached(scene, 50);
    expect(logged(other, CONNECTED)).toBe(1);
    expect(scene.mostSockets()).toBe(1);
  });

  test("SIGTERM of the owner under load: handed over without waiting for the lease, exit 0", async (context) => {
    const scene = await open(context);
    const { fake, sender } = scene;
    const long = { WHATSAPP_LEASE_MS: "60000" };
    const owner = await scene.start(long);
    await connected(scene);
    const other = await scene.start(long);
    fake.onSend({ outcome: "ack", delayMs: 100 });
    await hunt(other, scene, 50);
    await fake.waitFor(() => fake.messages.length >= 10);
    owner.kill("SIGTERM");
    expect(await owner.exited).toBe(0);
    await allReached(scene, 50);
    expect(fake.logins(sender)).toBe(2);
    expect(fake.messages.filter(({ relays }) => relays > 1)).toEqual([]);
    expect(scene.mostSockets()).toBe(1);
  });

  test("SIGTERM of an owner whose session is connecting while messages wait for it: exit 0 at once", async (context) => {
    const scene = await open(context);
    const { fake, sender } = scene;
    const owner = await scene.start();
    // A lane is worked from the first time on that the session is open.
    await text(owner, scene, phone(2));
    await allReached(scene, 1);
    fake.outage(503);
    fake.disconnect(sender, 428);
    await text(owner, scene, phone(1));
    const queue = scene.world.queue(`whatsapp.${scene.sessionId}`);
    await until(
      () => queue.getActiveCount(),
      (active) => active === 1,
    );
    owner.kill("SIGTERM");
    expect(await owner.exited).toBe(0);
    fake.outage(undefined);
    await scene.start();
    await allReached(scene, 2);
  });

  test("frozen beyond its lease: what it still writes is refused, and what it began is not sent again", async (context) => {
    const scene = await open(context);
    const { world, fake, sender, sessionId } = scene;
    const gate = await openGate(world.database.supabaseUrl);
    context.onTestFinished(() => gate[Symbol.asyncDispose]());
    const owner = await scene.start({ SUPABASE_URL: gate.url });
    await connected(scene);
    await text(owner, scene, phone(1));
    await allReached(scene, 1);

    // It has given the message to WhatsApp, and what its keys have become is on its way to the database.
    const writing = gate.hold("write_whatsapp_keys", "before");
    await text(owner, scene, phone(1), "Encore");
    await writing;
    await fake.waitFor(() => fake.messages.length === 2);
    owner.kill("SIGSTOP");
    const other = await scene.start();
    await until(
      async () => logged(other, CONNECTED),
      (times) => times === 1,
    );
    await allReached(scene, 2);
    const keys = "select type, id, sealed from whatsapp_keys where session_id = $1 order by type, id";
    const before = (await world.sql.query(keys, [sessionId])).rows;
    const late = gate.hold("write_whatsapp_keys", "after");
    gate.release("write_whatsapp_keys");
    void late;
    owner.kill("SIGCONT");
    await until(
      async () => logged(owner, LOST),
      (times) => times === 1,
    );
    expect((await world.sql.query(keys, [sessionId])).rows).toEqual(before);

    await hunt(other, scene, 20, 10);
    await text(owner, scene, phone(1), "Toujours");
    await text(other, scene, phone(2));
    await allReached(scene, 24);
    const sealer = createSealer([ENCRYPTION_KEY]);
    for (const { type, id, sealed } of (await world.sql.query(keys, [sessionId])).rows) {
      expect(() => sealer.open(sealed, JSON.stringify([sessionId, type, id]))).not.toThrow();
    }
    expect(fake.connected(sender)).toBe(1);
    owner.kill("SIGTERM");
    expect(await owner.exited).toBe(0);
  });

  test.for(["refuse", "black-hole"] as const)(
    "the database is away for longer than the lease (%s): the socket ends, and comes back with it",
    async (kind, context) => {
      const scene = await open(context);
      const { world, fake, sender } = scene;
      const database = await TcpProxy.open(Number(new URL(world.database.supabaseUrl).port));
      context.onTestFinished(() => database[Symbol.asyncDispose]());
      const owner = await scene.start({ SUPABASE_URL: `http://127.0.0.1:${database.port}` });
      await connected(scene);
      await hunt(owner, scene, 5);
      await allReached(scene, 5);
      await database.cut(kind);
      const since = performance.now();
      await until(
        async () => fake.connected(sender),
        (sockets) => sockets === 0,
      );
      // Another process could have it from then on.
      expect(performance.now() - since).toBeLessThan(LEASE_MS + 500);
      await database.mend();
      await connected(scene);
      await hunt(owner, scene, 5, 5);
      await allReached(scene, 10);
      expect(scene.mostSockets()).toBe(1);
    },
  );

  test("Redis is away: the session stays, and messages leave when it is back", async (context) => {
    const scene = await open(context);
    const { fake, sender } = scene;
    const redis = await openRedis();
    context.onTestFinished(() => redis[Symbol.asyncDispose]());
    const owner = await scene.start({ REDIS_URL: redis.url });
    await connected(scene);
    await hunt(owner, scene, 5);
    await allReached(scene, 5);
    await redis.kill();
    const since = performance.now();
    await hunt(owner, scene, 5, 5);
    await until(
      async () => performance.now() - since,
      (ms) => ms > 2 * LEASE_MS,
    );
    await redis.start();
    await allReached(scene, 10);
    expect(fake.logins(sender)).toBe(1);
  });
});
