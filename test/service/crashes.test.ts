import { describe, expect, test, type TestContext } from "vitest";
import { type FakeTwilio, startFakeTwilio } from "../fakes/twilio/fake-twilio.ts";
import { openGate, type Gate } from "../helpers/gate.ts";
import { huntId, phone } from "../helpers/hunts.ts";
import { contacts, countsOf, settled, twice, until } from "../helpers/ledger.ts";
import { type ServiceProcess, startProcess, twilioEnvironment } from "../helpers/process.ts";
import { openWorld } from "../helpers/service.ts";

async function open({ onTestFinished }: TestContext) {
  const resources = new AsyncDisposableStack();
  onTestFinished(() => resources.disposeAsync());
  const world = resources.use(await openWorld());
  const twilio = resources.use(await startFakeTwilio());
  const gate = resources.use(await openGate(world.database.supabaseUrl));
  const start = async (more: Record<string, string> = {}): Promise<ServiceProcess> =>
    resources.use(await startProcess({ ...world.environment, ...twilioEnvironment(twilio), ...more }));
  return { world, twilio, gate, start };
}

async function kill(service: ServiceProcess): Promise<void> {
  service.kill("SIGKILL");
  expect(await service.exited).toBeNull();
}

/** The same numbers for the same seed (mulberry32), below `limit`. */
function seeded(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % limit;
  };
}

interface Boundary {
  /** Where the process is when it dies. */
  where: string;
  /** Stops it there; resolves when it is there. */
  reach(gate: Gate, twilio: FakeTwilio): Promise<unknown>;
  /** What the message comes to, and how often it was posted to the provider in all. */
  status: "sent" | "unknown";
  posted: 0 | 1;
  /** Whether the next process had to ask the provider. */
  asked: boolean;
}

const BOUNDARIES: Boundary[] = [
  {
    where: "before the in-flight mark",
    reach: (gate) => gate.hold("begin_attempts", "before"),
    status: "sent",
    posted: 1,
    asked: false,
  },
  {
    where: "after the mark, before the call",
    reach: (gate) => gate.hold("begin_attempts", "after"),
    // Twilio cannot prove that it never got it.
    status: "unknown",
    posted: 0,
    asked: true,
  },
  {
    where: "during the call, which the provider has not accepted",
    reach(_gate, twilio) {
      twilio.script(phone(1), { kind: "hang" });
      return until(
        async () => twilio.posted(phone(1)),
        (posted) => posted === 1,
      );
    },
    status: "unknown",
    posted: 1,
    asked: true,
  },
  {
    where: "after the provider accepted, before its answer",
    reach(_gate, twilio) {
      twilio.script(phone(1), { kind: "hang", accept: true });
      return until(
        async () => twilio.accepted.length,
        (accepted) => accepted === 1,
      );
    },
    status: "sent",
    posted: 1,
    asked: true,
  },
  {
    where: "after the answer, before the outcome is committed",
    reach: (gate) => gate.hold("record_outcomes", "before"),
    status: "sent",
    posted: 1,
    // The copy in the job tells.
    asked: false,
  },
  {
    where: "after the commit, before the job is completed",
    reach: (gate) => gate.hold("record_outcomes", "after"),
    status: "sent",
    posted: 1,
    asked: false,
  },
];

describe.concurrent("kill -9 of a message's worker", { timeout: 120_000 }, () => {
  test.for(BOUNDARIES)("$where: $status, posted $posted times", async ({ reach, status, posted, asked }, context) => {
    const { world, twilio, gate, start } = await open(context);
    const accountId = await world.account();
    await world.credits(accountId, "sms", 5);
    const first = await start({ SUPABASE_URL: gate.url });
    const reached = reach(gate, twilio);
    const body = { recipientPhone: phone(1), message: "Bonjour", accountId };
    expect((await first.post("/api/phone/sms", body)).status).toBe(202);
    await reached;
    await kill(first);

    await start();
    expect(await settled(world, 1)).toEqual({ [status]: 1 });
    expect(twilio.posted(phone(1))).toBe(posted);
    expect(twilio.requests.some(({ method }) => method === "GET")).toBe(asked);
    const { rows } = await world.sql.query("select balance::int, reserved::int, spent::int from credits");
    const credit = status === "sent" ? { reserved: 0, spent: 1 } : { reserved: 1, spent: 0 };
    expect(rows).toEqual([{ balance: 4, ...credit }]);
  });
});

describe.concurrent("kill -9 while a hunt is taken in", { timeout: 120_000 }, () => {
  const SIZE = 30;

  test.for([
    { where: "before the ledger has it", rpc: "accept_hunts", when: "before", inLedger: false },
    { where: "in the ledger, before its jobs are queued", rpc: "accept_hunts", when: "after", inLedger: true },
    { where: "before a chunk is planned", rpc: "plan_chunk", when: "before", inLedger: true },
    { where: "planned, before its messages are queued", rpc: "plan_chunk", when: "after", inLedger: true },
    { where: "before the submission is ended", rpc: "finish_submission", when: "before", inLedger: true },
  ] as const)("$where: each contact is sent one message", async ({ rpc, when, inLedger }, context) => {
    const { world, twilio, gate, start } = await open(context);
    const body = { huntId: huntId(), accountId: await world.account(), contacts: contacts(SIZE) };
    const key = { "idempotency-key": "the same each time" };
    const first = await start({ SUPABASE_URL: gate.url });
    const reached = gate.hold(rpc, when);
    // No message is in flight when the process dies: what is under test comes before that.
    void gate.hold("begin_attempts", "before");
    const answer = first.post("/api/hunt/execute", body, key).catch(() => undefined);
    await reached;
    await kill(first);
    const unanswered = rpc === "accept_hunts";
    if (unanswered) expect(await answer).toBeUndefined();

    const second = await start();
    // A caller who got no answer repeats itself.
    if (!inLedger) expect(await countsOf(world)).toEqual({});
    if (unanswered) expect((await second.post("/api/hunt/execute", body, key)).status).toBe(202);
    expect(await settled(world, SIZE)).toEqual({ sent: SIZE });
    expect(twilio.accepted).toHaveLength(SIZE);
    expect(twice(twilio.accepted)).toEqual([]);
    const planned = "select count(*)::int as n from hunt_submissions where planned_at is null";
    await until(
      async () => (await world.sql.query(planned)).rows[0] as { n: number },
      ({ n }) => n === 0,
    );
    expect((await world.sql.query("select 1 from hunt_submissions")).rowCount).toBe(1);
  });
});

describe.concurrent("kill -9 while single sends are taken in", { timeout: 120_000 }, () => {
  const SIZE = 20;

  test.for([
    { where: "before the ledger has them", when: "before" },
    { where: "in the ledger, before anybody is answered", when: "after" },
  ] as const)("$where: callers repeat themselves, and each message is sent once", async ({ when }, context) => {
    const { world, twilio, gate, start } = await open(context);
    const accountId = await world.account();
    const post = (service: ServiceProcess) =>
      Array.from({ length: SIZE }, (_, i) => {
        const body = { accountId, recipientPhone: phone(i), message: "Bonjour" };
        return service.post("/api/phone/sms", body, { "idempotency-key": `key ${i}` });
      });
    const first = await start({ SUPABASE_URL: gate.url });
    const reached = gate.hold("accept_messages", when);
    const unanswered = Promise.allSettled(post(first));
    await reached;
    await kill(first);
    expect((await unanswered).map(({ status }) => status)).toEqual(Array(SIZE).fill("rejected"));
    const { queued = 0 } = await countsOf(world);
    expect(queued > 0).toBe(when === "after");

    const second = await start();
    const answers = await Promise.all(post(second));
    expect(answers.map(({ status }) => status)).toEqual(Array(SIZE).fill(202));
    expect(await settled(world, SIZE)).toEqual({ sent: SIZE });
    expect(twilio.accepted).toHaveLength(SIZE);
    expect(twice(twilio.accepted)).toEqual([]);
  });
});

test.concurrent(
  "messages that were fed and have not reached their queue are found and queued",
  { timeout: 120_000 },
  async (context) => {
    const { world, twilio, gate, start } = await open(context);
    const body = { huntId: huntId(), accountId: await world.account(), contacts: contacts(60) };
    const first = await start({ SUPABASE_URL: gate.url });
    const reached = gate.hold("feed", "before");
    expect((await first.post("/api/hunt/execute", body)).status).toBe(202);
    const queued = "select count(*)::int as n from messages where status = 'queued'";
    await until(
      async () => (await world.sql.query(queued)).rows[0] as { n: number },
      ({ n }) => n === 60,
    );
    await reached;
    await kill(first);
    // As if the call had gone through, and the process had died with what it was given.
    await world.sql.query("update flows set fed_seq = (select min(seq) + 29 from messages)");

    await start();
    expect(await settled(world, 60)).toEqual({ sent: 60 });
    expect(twilio.accepted).toHaveLength(60);
    expect(twice(twilio.accepted)).toEqual([]);
  },
);

describe.concurrent("a process that is frozen beyond its lock and its hold", { timeout: 120_000 }, () => {
  const body = { recipientPhone: phone(1), message: "Bonjour" };

  test("after the mark: another one takes the message over, and it does not call any more", async (context) => {
    const { world, twilio, gate, start } = await open(context);
    const frozen = await start({ SUPABASE_URL: gate.url });
    const reached = gate.hold("begin_attempts", "after");
    expect((await frozen.post("/api/phone/sms", body)).status).toBe(202);
    await reached;
    frozen.kill("SIGSTOP");
    await start();
    expect(await settled(world, 1)).toEqual({ unknown: 1 });

    frozen.kill("SIGCONT");
    const recorded = gate.hold("record_outcomes", "after");
    gate.release("begin_attempts");
    // It has its go at last, sees how late it is, and says so instead of calling.
    await recorded;
    gate.release("record_outcomes");
    frozen.kill("SIGTERM");
    expect(await frozen.exited).toBe(0);
    expect(await countsOf(world)).toEqual({ unknown: 1 });
    expect(twilio.posted(phone(1))).toBe(0);
  });

  test("during the call: another one finds out that it was accepted, and nothing is sent or counted twice", async (context) => {
    const { world, twilio, start } = await open(context);
    const accountId = await world.account();
    await world.credits(accountId, "sms", 5);
    twilio.otherwise({ kind: "slow", delayMs: 200 });
    const frozen = await start();
    expect((await frozen.post("/api/phone/sms", { ...body, accountId })).status).toBe(202);
    await until(
      async () => twilio.posted(phone(1)),
      (posted) => posted === 1,
    );
    frozen.kill("SIGSTOP");
    await start();
    expect(await settled(world, 1)).toEqual({ sent: 1 });

    frozen.kill("SIGCONT");
    frozen.kill("SIGTERM");
    expect(await frozen.exited).toBe(0);
    expect(await countsOf(world)).toEqual({ sent: 1 });
    expect(twilio.posted(phone(1))).toBe(1);
    const { rows } = await world.sql.query("select balance::int, reserved::int, spent::int from credits");
    expect(rows).toEqual([{ balance: 4, reserved: 0, spent: 1 }]);
  });
});

const KILLS = 8;
const SIZE = 800;
const SEED = 1;

test.concurrent(
  `kill -9 of one of two processes under load, ${KILLS} times: nothing is lost, nobody is texted twice`,
  { timeout: 120_000 },
  async (context) => {
    const random = seeded(SEED);
    const { world, twilio, start } = await open(context);
    const accountId = await world.account();
    await world.credits(accountId, "sms", SIZE + 100);
    twilio.otherwise({ kind: "slow", delayMs: 30 });
    const services = [await start(), await start()];
    for (let first = 0; first < SIZE; first += 200) {
      const body = { huntId: huntId(), accountId, contacts: contacts(200, first) };
      expect((await services[0]!.post("/api/hunt/execute", body)).status).toBe(202);
    }

    let inFlight = 0;
    for (let kills = 0; kills < KILLS; kills++) {
      const mark = Math.min(SIZE - 100, twilio.accepted.length + 1 + random(100));
      await until(
        async () => twilio.accepted.length,
        (accepted) => accepted >= mark,
      );
      const victim = random(services.length);
      await kill(services[victim]!);
      inFlight += (await countsOf(world))["sending"] ?? 0;
      services[victim] = await start();
    }
    twilio.otherwise({ kind: "accept" });

    const since = performance.now();
    const { sent = 0, unknown = 0, ...others } = await settled(world, SIZE, 40_000);
    await context.annotate(
      `${KILLS} kills with ${inFlight} in flight: sent ${sent}, unknown ${unknown}; ` +
        `settled ${((performance.now() - since) / 1000).toFixed(1)} s after the last`,
    );
    expect(others).toEqual({});
    expect(sent + unknown).toBe(SIZE);
    expect(unknown).toBeLessThanOrEqual(inFlight);
    expect(twice(twilio.accepted)).toEqual([]);
    // Whoever is `sent` was texted, and nobody else but a message of unknown fate can have been.
    expect(twilio.accepted.length).toBeGreaterThanOrEqual(sent);
    expect(twilio.accepted.length).toBeLessThanOrEqual(sent + unknown);
    const { rows } = await world.sql.query("select balance::int, reserved::int, spent::int from credits");
    expect(rows).toEqual([{ balance: 100, reserved: unknown, spent: sent }]);
  },
);
