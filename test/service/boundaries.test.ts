import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { huntId, phone } from "../helpers/hunts.ts";
import { contacts, until } from "../helpers/ledger.ts";
import { type DependencyName, openStage, type Stage } from "../helpers/stage.ts";

/** Messages of one hunt, all of them under way at once. */
const SIZE = 6;
const CREDITS = 10;
/** After the return of what was gone; a cell that fails says what is left before its test runs out of time. */
const SETTLED_MS = 20_000;

interface Boundary {
  where: string;
  /** Stops the service there, with a hunt to these recipients; resolves when it is there. */
  reach(stage: Stage, recipients: readonly string[]): Promise<unknown>;
  /** Lets it go on. */
  pass(stage: Stage): unknown;
}

/** Keeps the transaction that records outcomes from its end, in its middle. */
let lock: { release(): Promise<void> } | undefined;
let drained: Promise<boolean> | undefined;
let deadline = new AbortController();

const atCall = (rpc: string, when: "before" | "after"): Pick<Boundary, "reach" | "pass"> => ({
  reach: ({ gate }) => gate.hold(rpc, when),
  pass: ({ gate }) => gate.release(rpc),
});

const BOUNDARIES: readonly Boundary[] = [
  { where: "before the ledger write", ...atCall("accept_hunts", "before") },
  { where: "after the ledger write", ...atCall("accept_hunts", "after") },
  {
    where: "after half an addBulk",
    // One call carries all of it, and a recipient is named in nothing that goes to Redis before.
    reach: ({ wire }, recipients) => wire.hold(recipients[SIZE / 2]!),
    pass: ({ wire }) => wire.release(),
  },
  { where: "after the in-flight mark", ...atCall("begin_attempts", "after") },
  {
    where: "during the call",
    reach: ({ vendor }) => vendor.hold(SIZE, () => "arrived"),
    pass: ({ vendor }) => vendor.release(),
  },
  {
    where: "after the provider accepted",
    reach: ({ vendor }) => vendor.hold(SIZE, () => "taken"),
    pass: ({ vendor }) => vendor.release(),
  },
  { where: "before the batch commit", ...atCall("record_outcomes", "before") },
  {
    where: "during the batch commit",
    async reach({ vendor, world }) {
      await vendor.hold(SIZE, () => "taken");
      const client = await world.sql.connect();
      await client.query("begin; lock table message_events in exclusive mode");
      lock = {
        async release() {
          await client.query("rollback");
          client.release();
        },
      };
      vendor.release();
      await until(
        () => world.sql.query(BLOCKED_COMMIT),
        ({ rowCount }) => rowCount !== 0,
      );
    },
    pass: () => lock?.release(),
  },
  { where: "after the commit before completion", ...atCall("record_outcomes", "after") },
  {
    where: "during a drain past its deadline",
    async reach(stage, recipients) {
      const half = new Set(recipients.slice(SIZE / 2));
      await stage.vendor.hold(SIZE, (to) => (half.has(to) ? "taken" : "arrived"));
      deadline = new AbortController();
      drained = stage.stop(deadline.signal);
    },
    async pass({ vendor }) {
      deadline.abort();
      expect(await drained).toBe(false);
      vendor.release();
    },
  },
];

const BLOCKED_COMMIT = `select 1 from pg_stat_activity
  where wait_event_type = 'Lock' and query like '%record_outcomes%' and datname = current_database()`;

const DEPENDENCIES: readonly DependencyName[] = ["Redis", "Postgres", "PostgREST", "the provider"];

const CELLS = DEPENDENCIES.flatMap((dependency, row) =>
  BOUNDARIES.map((boundary, column) => ({
    dependency,
    boundary,
    where: boundary.where,
    first: (row * BOUNDARIES.length + column) * SIZE,
  })),
);

/** Where the caller is told that it did not work, and whether it did all the same. */
const REFUSED: Record<string, { inLedger: boolean }> = {
  "Postgres gone before the ledger write": { inLedger: false },
  "PostgREST gone before the ledger write": { inLedger: false },
  "PostgREST gone after the ledger write": { inLedger: true },
};

/** What comes of the messages where nobody can tell whether all of them were taken; everywhere else each is sent. */
const HALF = { sent: SIZE / 2, unknown: SIZE / 2 };
const ENDS: Record<string, Record<string, number>> = {
  "the provider gone during the call": { unknown: SIZE },
  ...Object.fromEntries(DEPENDENCIES.map((name) => [`${name} gone during a drain past its deadline`, HALF])),
};

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage[Symbol.asyncDispose]());

test.for(CELLS)("$dependency gone $where", async ({ dependency, boundary, first }) => {
  const { world, vendor } = stage;
  const name = `${dependency} gone ${boundary.where}`;
  const service = await stage.service();
  const accountId = await world.account();
  await world.credits(accountId, "sms", CREDITS);
  const body = { huntId: huntId(), accountId, contacts: contacts(SIZE, first) };
  const recipients = Array.from({ length: SIZE }, (_, i) => phone(first + i));
  const headers = { "idempotency-key": randomUUID() };

  try {
    const reached = boundary.reach(stage, recipients);
    const answer = service.post("/api/hunt/execute", body, headers);
    await reached;
    await stage.dependencies[dependency].leave();
    await boundary.pass(stage);
    const words = JSON.stringify(service.logs.filter(({ level }) => Number(level) >= 50).slice(-3));
    expect((await answer).status, words).toBe(REFUSED[name] ? 503 : 202);
    expect(await huntsOf(accountId)).toBe(REFUSED[name]?.inLedger === false ? 0 : 1);
    await missed(dependency, recipients);
  } finally {
    // What a cell that fails leaves behind must not fail the others.
    for (const rpc of ["accept_hunts", "begin_attempts", "record_outcomes"]) stage.gate.release(rpc);
    stage.wire.release();
    vendor.release();
    await stage.dependencies[dependency].comeBack();
  }

  const next = await stage.service();
  if (REFUSED[name]) {
    if (!REFUSED[name].inLedger) {
      expect(await ledgerOf(accountId)).toEqual({ statuses: {}, credits: { balance: CREDITS, reserved: 0, spent: 0 } });
      // The sweeper may have brought an earlier cell's message a job, which finds that nothing is left to do.
      await until(jobs, (found) => JSON.stringify(found) === JSON.stringify(NO_JOBS), SETTLED_MS);
    }
    expect((await next.post("/api/hunt/execute", body, headers)).status).toBe(202);
  }
  const ends = ENDS[name] ?? { sent: SIZE };
  await until(
    async () => {
      await timePasses();
      return { ...(await ledgerOf(accountId)), jobs: await jobs() };
    },
    ({ statuses: { queued = 0, sending = 0, ...ended }, jobs }) =>
      queued + sending === 0 && Object.keys(ended).length > 0 && JSON.stringify(jobs) === JSON.stringify(NO_JOBS),
    SETTLED_MS,
  );
  const { sent = 0, unknown = 0 } = ends;
  expect(await ledgerOf(accountId)).toEqual({
    statuses: ends,
    credits: { balance: CREDITS - SIZE, reserved: unknown, spent: sent },
  });
  expect(await huntsOf(accountId)).toBe(1);
  const ours = (list: readonly string[]): string[] => list.filter((to) => recipients.includes(to)).toSorted();
  expect(ours(vendor.arrived)).toEqual(recipients);
  expect(ours(vendor.taken)).toEqual(await recipientsOf(accountId, "sent"));
  expect(ours(vendor.taken)).toHaveLength(sent);
  const events =
    "select 1 from message_events e join messages m on m.id = e.message_id where m.account_id = $1 and kind = 'sent'";
  expect((await world.sql.query(events, [accountId])).rowCount).toBe(sent);
});

/** Ends an outage: the service has met it, or had no need of what was gone. */
async function missed(dependency: DependencyName, recipients: readonly string[]): Promise<void> {
  if (drained) {
    // It left without it.
    drained = undefined;
    return;
  }
  const { vendor } = stage;
  if (dependency !== "the provider") return stage.missed(dependency);
  await until(
    async () => {
      const settled = "select recipient from messages where recipient = any ($1) and settled_at is not null";
      const { rows } = await stage.world.sql.query<{ recipient: string }>(settled, [recipients]);
      const met = new Set([...vendor.refused, ...vendor.askedInVain, ...rows.map(({ recipient }) => recipient)]);
      return recipients.filter((to) => !met.has(to));
    },
    (left) => left.length === 0,
  );
}

async function huntsOf(accountId: string): Promise<number> {
  const select = "select 1 from hunt_submissions s join hunts h on h.id = s.hunt_id where h.account_id = $1";
  return (await stage.world.sql.query(select, [accountId])).rowCount ?? 0;
}

async function ledgerOf(accountId: string) {
  const count = "select status, count(*)::int as n from messages where account_id = $1 group by status";
  const { rows } = await stage.world.sql.query<{ status: string; n: number }>(count, [accountId]);
  const credits = "select balance::int, reserved::int, spent::int from credits where account_id = $1";
  return {
    statuses: Object.fromEntries(rows.map(({ status, n }) => [status, n])) as Record<string, number>,
    credits: (await stage.world.sql.query(credits, [accountId])).rows[0] as Record<string, number>,
  };
}

async function recipientsOf(accountId: string, status: string): Promise<string[]> {
  const select = "select recipient from messages where account_id = $1 and status = $2 order by recipient";
  const { rows } = await stage.world.sql.query<{ recipient: string }>(select, [accountId, status]);
  return rows.map(({ recipient }) => recipient);
}

const STATES = ["active", "waiting", "prioritized", "delayed", "waiting-children", "failed"] as const;
const NO_JOBS = { hunt: [0, 0, 0, 0, 0, 0], sms: [0, 0, 0, 0, 0, 0] };

async function jobs(): Promise<Record<string, number[]>> {
  const of = async (name: string): Promise<number[]> => {
    const counts = await stage.world.queue(name).getJobCounts(...STATES);
    return STATES.map((state) => counts[state] ?? 0);
  };
  return { hunt: await of("hunt"), sms: await of("sms") };
}

/**
 * A minute, for everything that waits for one: what the ledger holds for a worker, what a job waits for before its next
 * try, and what the sweeper lets alone because it is new. No call is under way any more.
 */
async function timePasses(): Promise<void> {
  const { sql } = stage.world;
  await sql.query(`update messages set updated_at = updated_at - interval '1 minute', held_until = held_until - interval '1 minute'
    where id in (select id from messages where status in ('queued', 'sending') for update skip locked)`);
  await sql.query(
    "update hunt_submissions set accepted_at = accepted_at - interval '1 minute' where planned_at is null",
  );
  for (const name of ["hunt", "sms"]) await stage.world.queue(name).promoteJobs();
}
