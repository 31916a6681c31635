import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { finished, phone, settles, submit } from "../helpers/hunts.ts";
import { contacts, countsOf, settled } from "../helpers/ledger.ts";
import { accept, ambiguous, scriptedProvider, type ScriptedProvider } from "../helpers/scripted.ts";
import { openWorld, type TestService, type World } from "../helpers/service.ts";

/** Finished jobs go at once: nothing in Redis tells what was sent. */
const NOTHING_KEPT = { KEEP_COMPLETED_COUNT: "0", KEEP_COMPLETED_SECONDS: "0" };

/** Copies every table aside; the answer puts the copies back, as a restored backup. Both are one transaction. */
async function backup({ sql }: World): Promise<() => Promise<void>> {
  const { rows } = await sql.query<{ name: string; columns: string }>(
    `select table_name as name, string_agg(quote_ident(column_name), ', ') as columns from information_schema.columns
     where table_schema = 'public' and is_generated = 'NEVER' group by 1`,
  );
  const inOne = async (statements: string[]): Promise<void> => {
    const client = await sql.connect();
    try {
      for (;;) {
        try {
          return void (await client.query(`begin isolation level repeatable read; ${statements.join("; ")}; commit`));
        } catch (error) {
          await client.query("rollback");
          // What a service that was cut off had still asked of the database came in between.
          if ((error as { code?: string }).code !== "40001") throw error;
        }
      }
    } finally {
      client.release();
    }
  };
  await inOne([
    "drop schema if exists backup cascade",
    "create schema backup",
    ...rows.map(({ name, columns }) => `create table backup.${name} as select ${columns} from public.${name}`),
    // The sweeper leaves alone what was touched within the last seconds, and a backup is older than that.
    "update backup.messages set updated_at = updated_at - interval '1 minute'",
    "update backup.hunt_submissions set accepted_at = accepted_at - interval '1 minute'",
  ]);
  return () =>
    inOne([
      // Neither foreign keys nor the rules of what may follow what: a restore knows none.
      "set local session_replication_role = replica",
      ...rows.map(({ name }) => `delete from public.${name}`),
      ...rows.map(
        ({ name, columns }) =>
          `insert into public.${name} (${columns}) overriding system value select ${columns} from backup.${name}`,
      ),
    ]);
}

const copyOf = async ({ redis, prefix }: World): Promise<number> => Number(await redis.get(`${prefix}:epoch`));
const epochOf = async ({ sql }: World): Promise<number> =>
  Number((await sql.query("select value from epoch")).rows[0].value);

/** Waits for so many steps of the epoch. */
async function steps(world: World, count: number): Promise<void> {
  const from = await copyOf(world);
  await expect.poll(() => copyOf(world)).toBeGreaterThanOrEqual(from + count);
}

const restoredIn = (service: TestService): unknown[] =>
  service.logs.filter(({ msg }) => String(msg).includes("restored from a backup"));

const codesOf = async ({ sql }: World): Promise<string[]> =>
  (await sql.query("select status, code from messages order by seq")).rows.map(({ status, code }) =>
    [status, code].filter(Boolean).join(": "),
  );

interface Stage extends AsyncDisposable {
  world: World;
  provider: ScriptedProvider;
  start(environment?: Record<string, string>): Promise<TestService>;
  /** Accepted, and held back by a paused queue: five planned, three not planned yet. */
  hold(service: TestService): Promise<void>;
  /** Lets them go, and waits until all of them are sent. */
  letGo(): Promise<void>;
}

/** How often steps are counted. */
const OFTEN = { SWEEP_MS: "500" };

async function stage(provider = scriptedProvider()): Promise<Stage> {
  const world = await openWorld();
  return {
    world,
    provider,
    start: (environment = {}) => world.start({ ...OFTEN, ...environment }, { providers: { sms: provider } }),
    async hold(service) {
      const accountId = await world.account();
      await world.queue("sms").pause();
      await submit(service, { accountId, contacts: contacts(5) });
      await expect.poll(() => countsOf(world)).toEqual({ queued: 5 });
      await world.queue("hunt").pause();
      await submit(service, { accountId, contacts: contacts(3, 5) });
    },
    async letGo() {
      await world.queue("hunt").resume();
      await world.queue("sms").resume();
      expect(await settled(world, 8)).toEqual({ sent: 8 });
      expect(provider.calls).toHaveLength(8);
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}

test("a backup is restored while the service stands still → what it has open becomes unknown, planned or not", async () => {
  await using scene = await stage();
  const { world, provider } = scene;
  const before = await scene.start(NOTHING_KEPT);
  await scene.hold(before);
  const restore = await backup(world);
  await scene.letGo();
  await steps(world, 3);
  await before.stop();
  await restore();

  const after = await scene.start(NOTHING_KEPT);
  expect(await settled(world, 8)).toEqual({ unknown: 8 });
  expect(await codesOf(world)).toEqual(Array(8).fill("unknown: database_restored"));
  expect(provider.calls).toHaveLength(8);
  expect(restoredIn(after).length).toBeGreaterThan(0);
  const { body } = await after.get("/api/messages?status=unknown");
  expect(body.messages[0]).toMatchObject({ code: "database_restored", detail: expect.stringContaining("restored") });

  const { jobId } = await submit(after, { accountId: await world.account(), contacts: contacts(3, 20) });
  expect((await finished(after, jobId)).counts).toMatchObject({ sent: 3, unknown: 0 });
  expect(provider.calls).toHaveLength(11);
});

test("a backup is restored under the running service → nothing of it is sent again", async () => {
  await using scene = await stage();
  const { world, provider } = scene;
  const service = await scene.start(NOTHING_KEPT);
  await scene.hold(service);
  const restore = await backup(world);
  await scene.letGo();
  await steps(world, 3);
  await restore();
  expect(await settled(world, 8)).toEqual({ unknown: 8 });
  expect(provider.calls).toHaveLength(8);
  expect(await epochOf(world)).toBeGreaterThan(1);
});

test("a backup is restored, and jobs still tell what was sent → sent or unknown, whoever is first, and nothing again", async () => {
  await using scene = await stage();
  const { world, provider } = scene;
  const service = await scene.start();
  await scene.hold(service);
  const restore = await backup(world);
  await scene.letGo();
  await steps(world, 3);
  await restore();
  const counts = await settled(world, 8);
  expect({ sent: 0, unknown: 0, ...counts }).toMatchObject({ sent: expect.any(Number), unknown: expect.any(Number) });
  expect(Object.keys(counts).filter((status) => status !== "sent" && status !== "unknown")).toEqual([]);
  expect(provider.calls).toHaveLength(8);
});

test("a backup is restored while the queue is paused for longer than the backup is old → still nothing is sent again", async () => {
  await using scene = await stage();
  const { world, provider } = scene;
  const service = await scene.start({ ...NOTHING_KEPT, SWEEP_MS: "100" });
  await scene.hold(service);
  const restore = await backup(world);
  await scene.letGo();
  await steps(world, 3);
  await world.queue("sms").pause();
  const copy = await copyOf(world);
  await restore();
  // The ledger counts on, past where it was when it was sent.
  await expect.poll(() => epochOf(world)).toBeGreaterThan(copy + 2);
  await world.queue("sms").resume();
  expect(await settled(world, 8)).toEqual({ unknown: 8 });
  expect(provider.calls).toHaveLength(8);
});

test("a backup with nothing open in it is restored → is noticed by itself, and new work goes on", async () => {
  await using scene = await stage();
  const { world, provider } = scene;
  const service = await scene.start();
  const restore = await backup(world);
  await steps(world, 4);
  await restore();
  await expect.poll(() => restoredIn(service)).toHaveLength(1);
  const { body } = await service.post("/api/phone/sms", { recipientPhone: phone(1), message: "Bonjour" });
  await settles(service, body.messageId, "sent");
  expect(provider.calls).toHaveLength(1);
  expect(restoredIn(service)).toHaveLength(1);
});

test("a chunk is being planned in the moment in which the restore is noticed → becomes unknown as well", async () => {
  await using scene = await stage();
  const { world } = scene;
  const service = await scene.start();
  await world.queue("hunt").pause();
  const { jobId, huntId } = await submit(service, { accountId: await world.account(), contacts: contacts(1) });
  await service.stop();

  const planner = await world.sql.connect();
  const id = randomUUID();
  const row = {
    id,
    hunt_id: huntId,
    ad_id: "ad",
    copy: 0,
    channel: "sms",
    queue: "sms",
    recipient: phone(0),
    content: {},
  };
  try {
    await planner.query("begin");
    await planner.query("select plan_chunk($1, 0, $2, $3)", [jobId, huntId, JSON.stringify([row])]);
    let done = false;
    const adopting = world.sql
      .query("select adopt_epoch($1)", [(await epochOf(world)) + 10])
      .finally(() => (done = true));
    // It is over at once, or waits for the planner.
    const waiting = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    await expect.poll(async () => done || (await world.sql.query(waiting)).rowCount === 1).toBe(true);
    await planner.query("commit");
    await adopting;
  } finally {
    planner.release();
  }
  expect(await codesOf(world)).toEqual(["unknown: database_restored"]);
});

/** Stops the service, puts the ledger back to before the messages were sent, and lets it be `behind` steps late. */
async function setBack(
  world: World,
  service: TestService,
  restore: () => Promise<void>,
  behind: number,
): Promise<void> {
  await service.stop();
  const copy = await copyOf(world);
  await restore();
  await world.sql.query("update epoch set value = $1", [copy - behind]);
}

test("a failover that lost one step → what the jobs say was sent is recorded as sent", async () => {
  await using scene = await stage();
  const { world, provider } = scene;
  const before = await scene.start();
  await scene.hold(before);
  const restore = await backup(world);
  await scene.letGo();
  await setBack(world, before, restore, 1);

  const after = await scene.start();
  expect(await settled(world, 8)).toEqual({ sent: 8 });
  expect(provider.calls).toHaveLength(8);
  expect(restoredIn(after)).toEqual([]);
});

test("a failover that lost one step in which an attempt became unknown → it is not sent again", async () => {
  await using scene = await stage(
    scriptedProvider((request, signal) => {
      if (request.to === phone(0)) throw ambiguous();
      return accept(request, signal);
    }),
  );
  const { world, provider } = scene;
  const before = await scene.start();
  await world.queue("sms").pause();
  await submit(before, { accountId: await world.account(), contacts: contacts(2) });
  await expect.poll(() => countsOf(world)).toEqual({ queued: 2 });
  const restore = await backup(world);
  await world.queue("sms").resume();
  expect(await settled(world, 2)).toEqual({ sent: 1, unknown: 1 });
  await setBack(world, before, restore, 1);

  await scene.start();
  expect(await settled(world, 2)).toEqual({ sent: 1, unknown: 1 });
  expect(provider.calls).toHaveLength(2);
});

test("a failover that lost one step in which a call had no end yet → it is not made again", async () => {
  const called = Promise.withResolvers<void>();
  await using scene = await stage(
    scriptedProvider((request, signal) => {
      if (request.to !== phone(0) || scene.provider.callsTo(phone(0)) > 1) return accept(request, signal);
      called.resolve();
      return new Promise(() => {});
    }),
  );
  const { world, provider } = scene;
  const before = await scene.start();
  await world.queue("sms").pause();
  await submit(before, { accountId: await world.account(), contacts: contacts(2) });
  await expect.poll(() => countsOf(world)).toEqual({ queued: 2 });
  const restore = await backup(world);
  await world.queue("sms").resume();
  await called.promise;
  await expect.poll(() => countsOf(world)).toEqual({ sent: 1, sending: 1 });
  // The job goes back with the mark of a call, and without its end.
  await before.stop(AbortSignal.abort());
  await setBack(world, before, restore, 1);

  await scene.start();
  expect(await settled(world, 2)).toEqual({ sent: 1, unknown: 1 });
  expect(await codesOf(world)).toContain("unknown: attempt_forgotten");
  expect(provider.callsTo(phone(0))).toBe(1);
});

test("an empty Redis before a full ledger → is no restore: what is open is sent", async () => {
  await using scene = await stage();
  const { world, provider } = scene;
  const before = await scene.start();
  await scene.hold(before);
  await steps(world, 3);
  await before.stop();
  await world.redis.del(...(await world.redis.keys(`${world.prefix}*`)));
  await world.sql.query("update messages set updated_at = now() - interval '1 minute'");
  await world.sql.query("update hunt_submissions set accepted_at = now() - interval '1 minute'");

  const epoch = await epochOf(world);
  const after = await scene.start();
  expect(await settled(world, 8)).toEqual({ sent: 8 });
  expect(provider.calls).toHaveLength(8);
  expect(restoredIn(after)).toEqual([]);
  expect(await copyOf(world)).toBeGreaterThan(epoch);
});

test("two processes that both count, quickly → neither takes the other's steps for a restore", async () => {
  await using scene = await stage();
  const { world, provider } = scene;
  const both = [await scene.start({ SWEEP_MS: "100" }), await scene.start({ SWEEP_MS: "100" })] as const;
  const accountId = await world.account();
  for (let round = 0; round < 3; round++) {
    await submit(both[round % 2] as TestService, { accountId, contacts: contacts(50, round * 50) });
    await steps(world, 5);
  }
  expect(await settled(world, 150)).toEqual({ sent: 150 });
  expect(provider.calls).toHaveLength(150);
  expect(both.flatMap(restoredIn)).toEqual([]);
});
