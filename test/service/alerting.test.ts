import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Queue, Worker } from "bullmq";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { conditions, type Observed } from "../../src/alerts/conditions.ts";
import { systemClock } from "../../src/core/clock.ts";
import { createFailures } from "../../src/alerts/failures.ts";
import { PermanentError } from "../../src/core/errors.ts";
import { createMetrics } from "../../src/core/metrics.ts";
import { checkAlerts } from "../../src/doctor/alerts.ts";
import type { Overrides } from "../../src/service.ts";
import { phone, settles } from "../helpers/hunts.ts";
import { accept, scriptedProvider } from "../helpers/scripted.ts";
import { openWorld, type TestService, type World } from "../helpers/service.ts";

const INTERVAL_MS = 100;
let world: World;
let accountId: string;
let first: TestService;
let second: TestService;
let environment: Record<string, string>;
let overrides: Overrides;
/** What was told, and how the next tellings are answered: with 200 when there is no other status left. */
const told: string[] = [];
/** The same, of a service that is told apart by its address. */
const toldAlone: string[] = [];
const ALONE = "alone";
const statuses: number[] = [];
/** So many have come, of one alert a line. */
let messages = 0;
const receiver = createServer((request, response) => {
  let body = "";
  request.on("data", (chunk) => (body += String(chunk)));
  request.on("end", () => {
    const { text } = JSON.parse(body) as { text?: string };
    if (request.url === `/${ALONE}`) {
      toldAlone.push(...(text?.split("\n") ?? []));
      return response.end("ok");
    }
    const status = statuses.shift() ?? 200;
    if (status === 200 && text !== undefined) {
      told.push(...text.split("\n"));
      messages += 1;
    }
    return response.writeHead(status, { location: "/elsewhere" }).end("ok");
  });
});
/** Voicemails are taken when it resolves. */
const release = Promise.withResolvers<void>();

beforeAll(async () => {
  receiver.listen(0, "127.0.0.1");
  await new Promise((resolve) => receiver.once("listening", resolve));
  world = await openWorld();
  accountId = await world.account();
  environment = {
    ALERT_WEBHOOK_URL: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/services/T1/B2/a-token`,
    ALERT_INTERVAL_MS: String(INTERVAL_MS),
    ALERT_CREDITS_BELOW: "50",
    ALERT_STUCK_SECONDS: "1",
    WORKER_CONCURRENCY: "1",
  };
  overrides = {
    fetchPolicy: { allowPrivate: true, ports: "any" } as const,
    providers: {
      ringless_voice: scriptedProvider(async (request, signal) => {
        await release.promise;
        return accept(request, signal);
      }),
    },
  };
  first = await world.start(environment, overrides);
  second = await world.start(environment, overrides);
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  receiver.close();
});
beforeEach(() => {
  told.splice(0);
  messages = 0;
});

test("the doctor → says whether the address answers, and tells nobody of anything", async () => {
  const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/services/T1`;
  const open = { allowPrivate: true, ports: "any" } as const;
  expect(await checkAlerts(url, open)).toMatchObject([{ state: "ok" }]);
  statuses.push(404);
  expect(await checkAlerts(url, open)).toMatchObject([{ state: "warning", says: "answers with status 404" }]);
  expect(await checkAlerts(url)).toMatchObject([
    { state: "warning", says: expect.stringMatching("cannot be reached") },
  ]);
  expect(told).toEqual([]);
});

/** Those who look have seen it several times since now. */
async function seenAgain(id: string, prefix = world.prefix): Promise<void> {
  const at = async () => Number(await world.redis.zscore(`${prefix}:alerts:seen`, id));
  const now = await at();
  expect(now).toBeGreaterThan(0);
  await expect.poll(at).toBeGreaterThan(now + 5 * INTERVAL_MS);
}

const nobodyKnows = ":red_circle: Messages of which nobody can tell whether they were sent: 1. A person has to decide.";

test("what two processes see → is told once, after a refusal again, and that it is over once", async () => {
  // Neither is it told by another process meanwhile, nor is a redirect followed.
  statuses.push(500, 302);
  const { body } = await first.post("/api/phone/sms", { recipientPhone: "+33612340004", message: "Bonjour" });
  await settles(first, body.messageId, "unknown");
  await expect.poll(() => told).toEqual([nobodyKnows]);
  expect(statuses).toEqual([]);
  await seenAgain("unknown");
  expect(told).toEqual([nobodyKnows]);

  statuses.push(500);
  await first.post(`/api/messages/${body.messageId}/resolve`, { as: "sent" });
  await expect.poll(() => told).toHaveLength(2);
  expect(told[1]).toBe(nobodyKnows.replace(":red_circle:", ":large_green_circle: Over:"));
  await expect.poll(() => world.redis.exists(`${world.prefix}:alerts:seen`)).toBe(0);
  expect(told).toHaveLength(2);
  expect(await world.redis.keys(`${world.prefix}:alerts:*`)).toEqual([]);
});

test("numbers that are banned, away or held, and credits that are low → each is told, without anybody's number", async () => {
  await world.credits(accountId, "sms", 49);
  await world.credits(accountId, "whatsapp_text", 50);
  const { rows } = await world.sql.query<{ id: string }>(
    `insert into whatsapp_sessions (account_id, phone, method, state, since, paired_at, cold_paused_until) values
       ($1, '+33639980111', 'qr', 'banned', now(), now(), null),
       ($1, '+33639980112', 'qr', 'backing-off', now() - interval '1 hour', now(), null),
       ($1, '+33639980113', 'qr', 'backing-off', now(), now(), null),
       ($1, '+33639980114', 'qr', 'open', now(), now(), now() + interval '1 hour') returning id`,
    [accountId],
  );
  const whose = rows.map(({ id }) => `WhatsApp number ${id} of account ${accountId}`);
  await expect.poll(() => told).toHaveLength(4);
  expect(messages).toBeLessThan(4);
  expect(told).toEqual(
    expect.arrayContaining([
      `:red_circle: ${whose[0]} is banned: its messages wait.`,
      expect.stringMatching(`:red_circle: ${whose[1]} has not been online for 36\\d\\d s.`),
      `:red_circle: ${whose[3]} may not write to new people for now (463).`,
      `:red_circle: Account ${accountId} has 49 credits left for sms.`,
    ]),
  );
  await world.sql.query("delete from whatsapp_sessions");
  await world.sql.query("update credits set balance = 50");
  await expect.poll(() => told.filter((text) => text.startsWith(":large_green_circle:"))).toHaveLength(4);
  expect(told.join()).not.toContain("3363998");
});

test("work that waits and moves not → is told, and that it is over when it moves", async () => {
  for (let i = 0; i < 4; i++) {
    const body = { recipientPhone: phone(i), audioUrl: "https://example.com/a.mp3" };
    expect(await first.post("/api/phone/ringless-voice", body)).toMatchObject({ status: 202 });
  }
  await expect.poll(() => told).toHaveLength(1);
  expect(told[0]).toMatch(
    /^:red_circle: No progress: [12] jobs wait in voice, and a worker has moved none for [12] s\.$/,
  );
  release.resolve();
  await expect.poll(() => told).toHaveLength(2);
  expect(told[1]).toMatch(/^:large_green_circle: Over: No progress/);
});

test("without the database → nothing that it knows is over; the address is in no log", async () => {
  const { rows } = await world.sql.query<{ id: string }>(
    "insert into whatsapp_sessions (account_id, phone, method, state, paired_at) values ($1, '+33639980115', 'qr', 'banned', now()) returning id",
    [accountId],
  );
  await expect.poll(() => told).toHaveLength(1);
  await world.sql.query("revoke execute on function figures(bigint) from service_role");
  await seenAgain(`session:${rows[0]?.id}`);
  expect(told).toHaveLength(1);
  await world.sql.query("grant execute on function figures(bigint) to service_role");
  await world.sql.query("delete from whatsapp_sessions");
  await expect.poll(() => told).toHaveLength(2);
  const logs = [...first.logs, ...second.logs];
  expect(logs.some(({ alert }) => alert === "unknown")).toBe(true);
  expect(JSON.stringify(logs)).not.toMatch(/a-token|services\/T1/);
});

test("the function that feeds the queues is gone → told once, though the database is away meanwhile, and not ready", async () => {
  // Its time passes only here, however long anything takes.
  const clock = { ...systemClock, ms: 0, monotonic: () => clock.ms };
  const prefix = `${world.prefix}:alone`;
  const url = environment["ALERT_WEBHOOK_URL"]?.replace(/services.*/, ALONE);
  const alone = { ...environment, REDIS_PREFIX: prefix, ALERT_WEBHOOK_URL: String(url) };
  await using service = await world.start(alone, { ...overrides, clock });
  const ready = async () => {
    // Answers are good for a second.
    clock.ms += 1001;
    return (await service.get("/ready")).body as { ready: boolean; checks: Record<string, unknown> };
  };
  const said = (what: string) => toldAlone.filter((text) => text.includes(what)).map((text) => text.split(" ")[0]);
  const [feeder, database] = ["the queue sms", "the database does not answer"];

  await world.sql.query("alter function feed rename to fed");
  const failing = ({ msg, queue }: Record<string, unknown>) => msg === "feeding failed" && queue === "sms";
  await expect.poll(() => service.logs.some(failing)).toBe(true);
  clock.ms += 31_000;
  await expect.poll(() => said(feeder)).toEqual([":red_circle:"]);
  expect(toldAlone).toContainEqual(
    expect.stringMatching(
      /^:red_circle: No progress for \d+ s: the messages of hunts cannot be put into the queue sms/,
    ),
  );
  await expect.poll(ready).toMatchObject({
    ready: false,
    checks: {
      database: { ok: true },
      "worker:sms": { ok: true },
      "feeder:sms": { ok: false, detail: expect.stringMatching(/^It has not got on for \d+ s/) },
      sweeper: { ok: true },
      outbox: { ok: true },
      epoch: { ok: true },
    },
  });

  await world.sql.query("revoke execute on function ping() from service_role");
  await expect.poll(ready).toMatchObject({ checks: { database: { ok: false }, "feeder:sms": { ok: true } } });
  await expect.poll(async () => [await ready(), said(database)][1]).toEqual([":red_circle:"]);
  await seenAgain("stuck:database", prefix);
  await world.sql.query("grant execute on function ping() to service_role");
  await expect.poll(() => said(database)).toEqual([":red_circle:", ":large_green_circle:"]);
  await seenAgain("stuck:feeder:sms", prefix);
  expect(said(feeder)).toEqual([":red_circle:"]);

  await world.sql.query("alter function fed rename to feed");
  await expect.poll(() => said(feeder)).toEqual([":red_circle:", ":large_green_circle:"]);
  await expect.poll(ready).toMatchObject({ ready: true, checks: { "feeder:sms": { ok: true } } });
  expect(said(feeder)).toEqual([":red_circle:", ":large_green_circle:"]);
});

test("a process that works nothing, and no other that does → told of what waits, until somebody works it", async () => {
  const prefix = `${world.prefix}:api`;
  await using api = await world.start({ ...environment, ROLE: "api", REDIS_PREFIX: prefix }, overrides);
  const connection = { url: world.environment["REDIS_URL"] ?? "" };
  await using queue = opened(new Queue("voice", { connection, prefix }));
  const long = { timestamp: Date.now() - 90_000 };
  const said = () => told.filter((text) => text.includes("wait in voice")).map((text) => NOBODY.test(text));
  await queue.of.add("ringless_voice", {}, long);
  await expect.poll(said).toEqual([true]);
  expect((await api.get("/ready")).status).toBe(200);

  // However long a job takes, it is worked while it is locked; a worker that dies leaves it without its lock.
  await using worker = opened(new Worker("voice", null, { connection, prefix }));
  const { id = "" } = (await worker.of.getNextJob("its token")) ?? {};
  await world.redis.hset(queue.of.toKey(id), "processedOn", long.timestamp);
  await expect.poll(said).toEqual([true, false]);
  await world.redis.del(`${queue.of.toKey(id)}:lock`);
  await expect.poll(said).toEqual([true, false, true]);

  await queue.of.pause();
  await expect.poll(said).toEqual([true, false, true, false]);
  await world.redis.del(queue.of.toKey("active"));
  await queue.of.resume();
  // One that was put off and is due: nobody brings it among those that wait.
  await queue.of.add("ringless_voice", {}, { ...long, delay: 1000 });
  await expect.poll(said).toEqual([true, false, true, false, true]);
});

const NOBODY = /^:red_circle: No progress: 1 jobs wait in voice, and no process has taken any for (89|9\d) s\.$/;

/** Closed at the end of the test. */
const opened = <T extends { close(): Promise<void> }>(of: T) => ({ of, [Symbol.asyncDispose]: () => of.close() });

const LIMITS = {
  stuckSeconds: 120,
  failureRatio: 0.5,
  failureMinimum: 20,
  unknown: 1,
  sessionSeconds: 300,
  creditsBelow: 0,
};
const STUCK = { queue: "sms", waiting: 1, by: "worker" } as const;
const QUIET = {
  unknown: 0,
  flows: {},
  sessions: {},
  troubled: [],
  low: [{ accountId: "a", channel: "sms", balance: -1 }],
};

const NOTHING: Observed = { ledger: QUIET, stuck: [], loops: [], calls: [] };

test.each<[string, Partial<Observed>, string[]]>([
  ["half of enough calls have failed", { calls: [call(10, 20)] }, ["failures:sms:twilio"]],
  ["less than half", { calls: [call(9, 20)] }, []],
  ["all of too few", { calls: [call(19, 19)] }, []],
  ["stuck for long enough", { stuck: [{ ...STUCK, seconds: 120 }] }, ["stuck:sms"]],
  ["stuck for a moment", { stuck: [{ ...STUCK, seconds: 119 }] }, []],
  [
    "a loop that has not got on for long enough",
    { loops: [{ loop: "feeder:sms", seconds: 120 }] },
    ["stuck:feeder:sms"],
  ],
  ["a loop that has not got on for a moment", { loops: [{ loop: "sweeper", seconds: 119 }] }, []],
  ["nothing known of the database", { ledger: undefined, calls: [call(20, 20)] }, ["failures:sms:twilio"]],
  ["one of unknown fate", { ledger: { ...QUIET, unknown: 1 } }, ["unknown"]],
  ["low credits of which nobody wants to hear", {}, []],
])("%s → %j", (_, observed, ids) => {
  const found = conditions({ ...NOTHING, ...observed }, LIMITS);
  expect(found.map(({ id }) => id)).toEqual(ids);
});

test("a provider that fails → is failing while nothing or nothing good is sent, until calls succeed", () => {
  const judged = createFailures(LIMITS);
  const looks = [call(40, 40), call(0, 0), call(3, 3), call(1, 3), call(0, 0), call(20, 20), call(9, 20)];
  const shown = looks.map((each) => conditions({ ...NOTHING, calls: judged([each]) }, LIMITS));
  const failed = "100 % of twilio's calls for sms have failed: 40 of 40 within five minutes.";
  expect(shown.map((alerts) => alerts.map(({ text }) => text))).toEqual([
    [failed],
    [failed],
    [failed],
    [],
    [],
    [failed.replace("40 of 40", "20 of 20")],
    [],
  ]);
});

test("calls that fail for the number → are none of the provider's failures", async () => {
  const metrics = createMetrics({
    queues: async () => [],
    ledger: async () => QUIET,
    breakers: () => [],
    senders: async () => [],
    pingRedis: async () => undefined,
    readers: () => 0,
  });
  const errors = [
    new PermanentError("no such number", { provider: "twilio", code: "INVALID_NUMBER" }),
    new Error("a fault of ours"),
    undefined,
  ];
  for (const error of errors) metrics.attemptEnded({ channel: "sms", provider: "twilio", result: "x" }, 1, error);
  expect(await metrics.calls()).toEqual([call(1, 3)]);
});

function call(failed: number, all: number): Observed["calls"][number] {
  return { channel: "sms", provider: "twilio", failed, all };
}
