import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Clock } from "../../src/core/clock.ts";
import { finished, messageOf, messagesOf, phone, run, settles, submit } from "../helpers/hunts.ts";
import { until } from "../helpers/ledger.ts";
import { accept, refusal, scriptedProvider, type Script, type ScriptedProvider } from "../helpers/scripted.ts";
import { contact, openWorld, type TestService, type World } from "../helpers/service.ts";

/** A clock that goes on from wherever it is put. */
function movableClock(): Clock & { put(iso: string): void } {
  let offset = 0;
  return {
    now: () => Date.now() + offset,
    monotonic: () => performance.now(),
    put: (iso) => void (offset = Date.parse(iso) - Date.now()),
  };
}
const clock = movableClock();
const putClock = clock.put;

let world: World;
let service: TestService;
let provider: ScriptedProvider;
let script: Script = accept;
let last = 0;

beforeAll(async () => {
  world = await openWorld();
  provider = scriptedProvider((request, signal) => script(request, signal), { timeoutMs: 60_000 });
  service = await world.start({}, { clock, providers: { sms: provider, ringless_voice: provider } });
});
afterAll(() => world[Symbol.asyncDispose]());
beforeEach(() => {
  script = accept;
  // A Monday in Paris, in the hours of every channel.
  putClock("2026-11-23T11:00:00+01:00");
});

const nextPhone = (): string => phone((last += 1));

async function account(policy: unknown, columns: { consent_declared?: boolean } = {}, at = world): Promise<string> {
  const id = await at.account();
  await at.sql.query("update accounts set policy = $2, consent_declared = $3 where id = $1", [
    id,
    JSON.stringify(policy),
    columns.consent_declared ?? false,
  ]);
  return id;
}
const agreed = (to: string, fields: object = {}) => contact({ recipientPhone: to, consent: true, ...fields });

/** What becomes of one contact: its reason, or its status. */
async function sending(accountId: string, contacts: object[]): Promise<string[]> {
  const { huntId } = await run(service, { accountId, contacts });
  return (await messagesOf(service, huntId)).map(({ status, reason }) => reason ?? status);
}

describe("consent", () => {
  test("a contact without it → is skipped where the policy wants it, and says so", async () => {
    const accountId = await account("marketing-fr");
    const contacts = [
      contact({ recipientPhone: nextPhone() }),
      contact({ recipientPhone: nextPhone(), consent: false }),
      agreed(nextPhone()),
    ];
    const { huntId } = await run(service, { accountId, contacts });
    const messages = await messagesOf(service, huntId);
    expect(messages.map(({ status, reason }) => reason ?? status)).toEqual(["no_consent", "no_consent", "sent"]);
    expect(messages[0].detail).toContain("consent: true");
    expect(messages[0].attempts).toBe(0);
  });

  test("an account that has declared it → needs it on no contact", async () => {
    const accountId = await account("marketing-fr", { consent_declared: true });
    expect(await sending(accountId, [contact({ recipientPhone: nextPhone() })])).toEqual(["sent"]);
  });

  test("consent that is neither true nor false → refused with its place", async () => {
    const contacts = [contact(), contact({ consent: "yes" })];
    const answer = await service.post("/api/hunt/execute", { huntId: "x", accountId: await world.account(), contacts });
    expect(answer).toMatchObject({ status: 400, body: { errors: [{ pointer: "/contacts/1/consent" }] } });
  });
});

describe("hours", () => {
  const EVENING = "2026-11-23T22:30:00+01:00";

  test("what expires before the hours begin → is skipped as expired when its time is over, and says why it waited", async () => {
    putClock(EVENING);
    const [accountId, to] = [await account("marketing-fr"), nextPhone()];
    const expiresAt = new Date(Date.now() + 2000).toISOString();
    const { jobId, huntId } = await submit(service, { accountId, expiresAt, contacts: [agreed(to)] });
    await expect.poll(async () => (await messagesOf(service, huntId))[0]?.status).toBe("queued");
    await finished(service, jobId);
    expect(await messagesOf(service, huntId)).toMatchObject([
      { status: "skipped", reason: "expired", detail: expect.stringContaining("outside the hours"), attempts: 0 },
    ]);
    expect(provider.callsTo(to)).toBe(0);
  });

  test("what is on the list by then → is skipped at once, night or not", async () => {
    putClock(EVENING);
    const [accountId, to] = [await account("marketing-fr"), nextPhone()];
    await world.queue("sms").pause();
    const { jobId, huntId } = await submit(service, { accountId, contacts: [agreed(to)] });
    await expect.poll(async () => (await messagesOf(service, huntId)).length).toBe(1);
    await service.post("/api/suppressions", { phone: to, accountId });
    await world.queue("sms").resume();
    await finished(service, jobId);
    expect((await messagesOf(service, huntId))[0].reason).toBe("suppressed");
  });

  test("each channel has hours of its own, each recipient a clock of their own", async () => {
    // 21:00 in Paris, a Monday: too late for a call; midnight in La Réunion, 16:00 in Guadeloupe.
    putClock("2026-11-23T21:00:00+01:00");
    const accountId = await account("marketing-fr");
    const contacts = [
      agreed(nextPhone()),
      agreed(nextPhone(), { channel: "ringless_voice" }),
      agreed("+262692123456"),
      agreed("+590690123456", { channel: "ringless_voice" }),
    ];
    const { huntId } = await submit(service, { accountId, contacts });
    const now = async () => (await messagesOf(service, huntId)).map(({ status, detail }) => detail ?? status);
    await expect
      .poll(now)
      .toEqual(["sent", expect.stringContaining("T09:00:00"), expect.stringContaining("T04:00:00"), "sent"]);
  });

  test("on a public holiday → it waits for the next day", async () => {
    putClock("2027-05-01T12:00:00+02:00");
    const accountId = await account("marketing-fr");
    const { huntId } = await submit(service, { accountId, contacts: [agreed(nextPhone())] });
    await expect
      .poll(async () => (await messagesOf(service, huntId))[0]?.detail)
      .toBe("Waits until 2027-05-03T06:00:00.000Z. It is a public holiday there (Fête du travail).");
  });

  test("single messages → wait as marketing only, and go out at night when the person has asked for them", async () => {
    putClock(EVENING);
    const accountId = await account("marketing-fr");
    const send = async (fields: object): Promise<string> =>
      (await service.post("/api/phone/sms", { recipientPhone: nextPhone(), accountId, message: "Bonjour", ...fields }))
        .body.messageId;
    await settles(service, await send({}), "sent");
    const refused = await settles(service, await send({ category: "marketing" }), "skipped");
    expect(refused).toMatchObject({ reason: "no_consent" });
    const waiting = await send({ category: "marketing", consent: true });
    await expect.poll(async () => (await messageOf(service, waiting)).detail).toContain("Waits until 2026-11-24T07:00");
  });

  test("an attempt of unknown fate → is cleared up at night as well", async () => {
    const [accountId, to] = [await account("marketing-fr"), nextPhone()];
    const { jobId, huntId } = await submit(service, { accountId, contacts: [agreed(to)] });
    await finished(service, jobId);
    const [{ messageId }] = await messagesOf(service, huntId);
    // As if the process had died in the call, whose hold is over.
    await world.sql.query("alter table messages disable trigger messages_transition");
    await world.sql.query(
      "update messages set status = 'sending', settled_at = null, sent_at = null, held_until = now() where id = $1",
      [messageId],
    );
    await world.sql.query("alter table messages enable trigger messages_transition");
    await world.queue("sms").remove(messageId);
    putClock(EVENING);
    await settles(service, messageId, "unknown");
    expect(provider.callsTo(to)).toBe(1);
  });
});

describe.concurrent("just before the hours begin", () => {
  const night = movableClock();

  /** A hunt to one person, at that time of night. */
  async function asleep(at: World, by: TestService) {
    const [accountId, to] = [await account("marketing-fr", {}, at), nextPhone()];
    const { jobId, huntId } = await submit(by, { accountId, contacts: [agreed(to)] });
    const only = async () => (await messagesOf(by, huntId))[0];
    const waiting = await until(only, (message) => Boolean(message?.detail?.includes("Waits until")), 15_000);
    return { accountId, to, jobId, only, waiting };
  }

  let bedroom: World;
  let sleeper: TestService;
  beforeAll(async () => {
    bedroom = await openWorld();
    sleeper = await bedroom.start({}, { clock: night, providers: { sms: provider } });
    // Longer than the sweeper leaves a message alone, and than what was read of an account is believed.
    night.put("2026-11-24T07:59:50+01:00");
  });
  afterAll(() => bedroom[Symbol.asyncDispose]());

  test("at night → it waits, says until when and why, and goes out when the hours begin; its job sleeps: neither worker nor sweeper touches it", async ({
    expect,
  }) => {
    const { to, jobId, only, waiting } = await asleep(bedroom, sleeper);
    expect(waiting).toMatchObject({ status: "queued", reason: null, attempts: 0 });
    expect(waiting.detail).toContain("Waits until 2026-11-24T07:00:00.000Z");
    expect(waiting.detail).toContain("Monday to Saturday 08:00–22:00, in Europe/Paris");
    expect(provider.callsTo(to)).toBe(0);
    await finished(sleeper, jobId);
    expect(await only()).toMatchObject({ status: "sent", attempts: 1, detail: null });
    expect(night.now()).toBeGreaterThanOrEqual(Date.parse("2026-11-24T08:00:00+01:00"));
    expect(provider.callsTo(to)).toBe(1);
    // Once to find that it is night, where it did not find that in a bundle, and once to send.
    const job = await bedroom.queue("sms").getJob(waiting.messageId);
    expect(job?.attemptsStarted).toBe(job?.data.waited ? 1 : 2);
    expect(sleeper.logs.filter(({ msg }) => msg === "work without a job was queued again")).toEqual([]);
  });

  test("a policy that is changed while a message waits → the new one counts", async ({ expect }) => {
    const { accountId, to, jobId, only } = await asleep(bedroom, sleeper);
    await bedroom.sql.query(`update accounts set policy = '{"hours": {"sms": []}}' where id = $1`, [accountId]);
    await finished(sleeper, jobId);
    expect(await only()).toMatchObject({ status: "skipped", reason: "no_hours" });
    expect(provider.callsTo(to)).toBe(0);
  });

  test("Redis loses everything while it waits → it still waits, and goes out once", async ({ expect }) => {
    await using own = await openWorld();
    const service = await own.start({}, { clock: night, providers: { sms: provider } });
    const { to, jobId } = await asleep(own, service);
    const keys = await own.redis.keys(`${own.prefix}:sms:*`);
    await own.redis.del(...keys);
    await finished(service, jobId);
    expect(night.now()).toBeGreaterThanOrEqual(Date.parse("2026-11-24T08:00:00+01:00"));
    expect(provider.callsTo(to)).toBe(1);
  });
});

describe("how often", () => {
  test("the second message of a day, over any channel → is skipped, and says what is allowed", async () => {
    const [accountId, to] = [await account("marketing-fr"), nextPhone()];
    expect(await sending(accountId, [agreed(to)])).toEqual(["sent"]);
    const { huntId } = await run(service, { accountId, contacts: [agreed(to, { channel: "ringless_voice" })] });
    expect(await messagesOf(service, huntId)).toMatchObject([
      {
        reason: "frequency_cap",
        detail: "The account's policy allows 1 marketing message for one person a day.",
        attempts: 0,
      },
    ]);
    expect(await sending(await account("marketing-fr"), [agreed(to)])).toEqual(["sent"]);
  });

  test("on the next day → it may be sent again, until there were four in 30 days", async () => {
    const [accountId, to] = [await account("marketing-fr"), nextPhone()];
    const yesterday = (hours: number) =>
      world.sql.query(
        "update messages set sent_at = sent_at - make_interval(hours => $2), attempt_started_at = attempt_started_at - make_interval(hours => $2) where recipient = $1 and status = 'sent'",
        [to, hours],
      );
    for (let day = 0; day < 4; day++) {
      expect(await sending(accountId, [agreed(to)])).toEqual(["sent"]);
      // It is eleven o'clock: twelve hours ago was yesterday.
      await yesterday(12);
    }
    const { huntId } = await run(service, { accountId, contacts: [agreed(to)] });
    expect((await messagesOf(service, huntId))[0]).toMatchObject({
      reason: "frequency_cap",
      detail: expect.stringContaining("4 marketing messages for one person in 30 days"),
    });
    await yesterday(30 * 24);
    expect(await sending(accountId, [agreed(to)])).toEqual(["sent"]);
  });

  test("what was not accepted, or was no marketing → does not count", async () => {
    const [accountId, to] = [await account("marketing-fr"), nextPhone()];
    script = () => {
      throw refusal();
    };
    expect(await sending(accountId, [agreed(to)])).toEqual(["failed"]);
    script = accept;
    const alone = { recipientPhone: to, accountId, message: "Votre code est 1234" };
    await settles(service, (await service.post("/api/phone/sms", alone)).body.messageId, "sent");
    expect(await sending(accountId, [agreed(to)])).toEqual(["sent"]);
    await settles(service, (await service.post("/api/phone/sms", alone)).body.messageId, "sent");
  });

  test("a credit that was reserved for it → comes back", async () => {
    const [accountId, to] = [await account("marketing-fr"), nextPhone()];
    await world.credits(accountId, "sms", 5);
    await world.queue("sms").pause();
    const hunts = [1, 2].map(() => submit(service, { accountId, contacts: [agreed(to)] }));
    const jobs = await Promise.all(hunts);
    for (const { huntId } of jobs)
      await expect.poll(async () => (await messagesOf(service, huntId))[0]?.status).toBe("queued");
    await world.queue("sms").resume();
    for (const { jobId } of jobs) await finished(service, jobId);
    const { rows } = await world.sql.query("select balance, reserved, spent from credits where account_id = $1", [
      accountId,
    ]);
    expect(rows).toEqual([{ balance: "4", reserved: "0", spent: "1" }]);
  });

  test.each([
    ["one a day", "marketing-fr", 1],
    ["three in 30 days", { base: "marketing-fr", perDay: null, per30Days: 3 }, 3],
    ["none at all", { perDay: 0 }, 0],
  ])("many messages for one person at once, in two processes: %s → exactly so many", async (_, policy, allowed) => {
    await using other = await world.start({}, { clock, providers: { sms: provider, ringless_voice: provider } });
    const [accountId, to] = [await account(policy), nextPhone()];
    for (const queue of ["sms", "voice"]) await world.queue(queue).pause();
    const skipped = async () => {
      const count = "select count(*)::int as n from messages where recipient = $1 and status = 'skipped'";
      return (await world.sql.query(count, [to])).rows[0].n as number;
    };
    // All of them are under way together: nobody is through before it is decided about everybody.
    script = async (request, signal) => {
      await until(skipped, (n) => n === 24 - allowed);
      return accept(request, signal);
    };
    const jobs = await Promise.all(
      Array.from({ length: 24 }, (__, i) =>
        submit(i % 2 ? service : other, {
          accountId,
          contacts: [agreed(to, { channel: i % 3 ? "sms" : "ringless_voice" })],
        }),
      ),
    );
    if (allowed > 0) {
      const queued = async () =>
        (
          await world.sql.query("select count(*)::int as n from messages where recipient = $1 and status = 'queued'", [
            to,
          ])
        ).rows[0].n;
      await expect.poll(queued).toBe(24);
    }
    for (const queue of ["sms", "voice"]) await world.queue(queue).resume();
    for (const { jobId } of jobs) await finished(service, jobId);
    const { rows } = await world.sql.query(
      "select status, code, count(*)::int as n from messages where recipient = $1 group by 1, 2 order by 1",
      [to],
    );
    expect(rows.filter(({ status }) => status !== "skipped").reduce((sum, { n }) => sum + n, 0)).toBe(allowed);
    expect(rows.filter(({ status }) => status === "skipped")).toEqual([
      { status: "skipped", code: "frequency_cap", n: 24 - allowed },
    ]);
    expect(provider.callsTo(to)).toBe(allowed);
  });
});

describe("whose policy", () => {
  test("an account without one, outside production → may send at night, to anybody", async () => {
    putClock("2026-11-22T03:00:00+01:00");
    const accountId = await world.account();
    expect(await sending(accountId, [contact({ recipientPhone: nextPhone() })])).toEqual(["sent"]);
  });

  test("an account without one, where DEFAULT_POLICY is country → is held to the recipient's country's", async () => {
    // Sunday noon in New York: no day for marketing in France, one like others there.
    putClock("2026-11-22T12:00:00-05:00");
    await using other = await openWorld();
    const held = await other.start({ DEFAULT_POLICY: "country" }, { clock, providers: { sms: provider } });
    const contacts = ["+12125550123", "+33612345678", "+4915112345678"].map((to) => agreed(to));
    const { huntId } = await submit(held, { accountId: await other.account(), contacts });
    const now = async () => (await messagesOf(held, huntId)).map(({ status, detail }) => detail ?? status);
    await expect
      .poll(now)
      .toEqual(["sent", expect.stringContaining("2026-11-23T07:00"), expect.stringContaining("2026-11-23T08:00")]);
  });

  test("values of its own → count in place of those that they are based on", async () => {
    putClock("2026-11-22T12:00:00+01:00");
    const hours = { sms: [{ days: [7], from: "11:00", to: "13:00" }] };
    const accountId = await account({ base: "marketing-fr", hours, consent: { sms: false } });
    expect(await sending(accountId, [contact({ recipientPhone: nextPhone() })])).toEqual(["sent"]);
    expect(await sending(accountId, [contact({ recipientPhone: nextPhone(), channel: "ringless_voice" })])).toEqual([
      "no_consent",
    ]);
  });

  test.each([
    ["marketing-uk", "none of country, marketing-fr"],
    [{ base: "marketing-fr", hours: { sms: [{ days: [8], from: "9:00", to: "25:00" }] } }, "hours.sms"],
    [{ perday: 3 }, "perday"],
  ])("%j, which is no policy → nothing is sent, and the reason says what is wrong", async (policy, words) => {
    const accountId = await account(policy);
    const { huntId } = await run(service, { accountId, contacts: [agreed(nextPhone())] });
    expect(await messagesOf(service, huntId)).toMatchObject([
      { reason: "invalid_policy", detail: expect.stringContaining(words) },
    ]);
  });
});
