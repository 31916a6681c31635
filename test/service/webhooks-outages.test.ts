import { expect, inject, test, type TestContext } from "vitest";
import { TcpProxy } from "../../bench/chaos/tcp-proxy.ts";
import { openGate } from "../helpers/gate.ts";
import { phone } from "../helpers/hunts.ts";
import { countsOf, settled, statusOf, until } from "../helpers/ledger.ts";
import { startProcess } from "../helpers/process.ts";
import { openWorld, type TestService } from "../helpers/service.ts";
import { startTwilio, startVonage } from "../helpers/sms-vendors.ts";

const VENDORS = [
  ["Twilio", startTwilio],
  ["Vonage", startVonage],
] as const;

const TO = phone(1);

/** A service whose Redis and database can be taken away, and one message that it has sent. */
async function open({ onTestFinished }: TestContext, startVendor: typeof startTwilio) {
  const resources = new AsyncDisposableStack();
  onTestFinished(() => resources.disposeAsync());
  const { redisUrl } = inject("stack");
  const vendor = resources.use(await startVendor());
  const world = resources.use(await openWorld());
  const toRedis = resources.use(await TcpProxy.open(Number(new URL(redisUrl).port)));
  const database = resources.use(await openGate(world.database.supabaseUrl));
  const toDatabase = resources.use(await TcpProxy.open(Number(new URL(database.url).port)));
  const service: TestService = await world.start({
    ...vendor.environment,
    REDIS_URL: `redis://127.0.0.1:${toRedis.port}`,
    SUPABASE_URL: `http://127.0.0.1:${toDatabase.port}`,
  });
  vendor.reach(service);
  const { body } = await service.post("/api/phone/sms", { recipientPhone: TO, message: "Bonjour" });
  await until(
    () => statusOf(world, body.messageId),
    (status) => status === "sent",
  );
  const missed = (path: string) =>
    until(
      async () => (await service.get(path)).status,
      (status) => status === 503,
    );
  return {
    vendor,
    world,
    messageId: body.messageId as string,
    redis: {
      async leave() {
        await toRedis.cut("refuse");
        await missed("/api/queues/stats");
      },
      comeBack: () => toRedis.mend(),
    },
    database: {
      async leave() {
        await toDatabase.cut("refuse");
        await missed("/api/messages?status=failed&limit=1");
      },
      comeBack: () => toDatabase.mend(),
    },
  };
}

const delivered = ({ world, messageId }: Awaited<ReturnType<typeof open>>) =>
  until(
    () => statusOf(world, messageId),
    (status) => status === "delivered",
  );

test.concurrent.for(VENDORS)(
  "Redis is away when %s reports → 204, and the ledger has it",
  async ([, start], context) => {
    const stage = await open(context, start);
    await stage.redis.leave();
    expect((await stage.vendor.report(TO, "delivered")).status).toBe(204);
    expect(await statusOf(stage.world, stage.messageId)).toBe("delivered");
    expect((await stage.vendor.reply(TO, "Oui")).status).toBe(204);
    expect((await stage.world.sql.query("select text from replies")).rows).toEqual([{ text: "Oui" }]);
    await stage.redis.comeBack();
  },
);

// By itself: a ledger that is slow to answer, as while nine others start, takes the queue's help.
test.for(VENDORS)(
  "a STOP that %s has brought counts from its answer on, whatever Redis forgets",
  async ([, start], context) => {
    const stage = await open(context, start);
    expect((await stage.vendor.reply(TO, "Oui")).status).toBe(204);
    await stage.world.queue("inbound").pause();
    expect((await stage.vendor.reply(TO, "STOP")).status).toBe(204);
    expect((await stage.world.sql.query("select 1 from suppressions")).rowCount).toBe(1);
    expect(await stage.world.queue("inbound").count()).toBe(0);
  },
);

test.concurrent.for(VENDORS)(
  "the database is away when %s reports → 204, and the ledger has it when it is back",
  async ([, start], context) => {
    const stage = await open(context, start);
    await stage.database.leave();
    expect((await stage.vendor.report(TO, "delivered")).status).toBe(204);
    expect((await stage.vendor.reply(TO, "STOP")).status).toBe(204);
    await stage.database.comeBack();
    await delivered(stage);
    const suppressed = async () => (await stage.world.sql.query("select 1 from suppressions")).rowCount;
    await until(suppressed, (rows) => rows === 1);
  },
);

test.concurrent.for(VENDORS)(
  "both are away when %s reports → 503, and the next call is taken",
  async ([, start], context) => {
    const stage = await open(context, start);
    await stage.redis.leave();
    await stage.database.leave();
    const answer = await stage.vendor.report(TO, "delivered");
    expect(answer.status).toBe(503);
    expect(answer.headers.get("retry-after")).toMatch(/^\d+$/);
    expect(await answer.json()).toMatchObject({ code: "database_unavailable" });
    await stage.redis.comeBack();
    await stage.database.comeBack();
    await until(
      async () => (await stage.vendor.report(TO, "delivered")).status,
      (status) => status === 204,
    );
    await delivered(stage);
  },
);

test.concurrent.for(VENDORS)(
  "killed between its answer to %s and the ledger → another process records it",
  async ([, startVendor], context) => {
    const resources = new AsyncDisposableStack();
    context.onTestFinished(() => resources.disposeAsync());
    const vendor = resources.use(await startVendor());
    const world = resources.use(await openWorld());
    const gate = resources.use(await openGate(world.database.supabaseUrl));
    const environment = { ...world.environment, ...vendor.environment, SUPABASE_URL: gate.url };
    const first = resources.use(await startProcess(environment));
    vendor.reach(first);
    const { body } = await first.post("/api/phone/sms", { recipientPhone: TO, message: "Bonjour" });
    await settled(world, 1);

    const reached = gate.hold("record_receipts", "before");
    expect((await vendor.report(TO, "delivered")).status).toBe(204);
    await reached;
    first.kill("SIGKILL");
    expect(await first.exited).toBeNull();
    expect(await countsOf(world)).toEqual({ sent: 1 });
    gate.release("record_receipts");

    resources.use(await startProcess({ ...environment, SUPABASE_URL: world.database.supabaseUrl }));
    await until(
      () => statusOf(world, body.messageId),
      (status) => status === "delivered",
    );
    expect(vendor.taken(TO)).toBe(1);
  },
);
