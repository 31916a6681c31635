import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { finished, huntId, messageOf, messagesOf, phone, run, settles, submit } from "../helpers/hunts.ts";
import {
  accept,
  ambiguous,
  refusal,
  scriptedProvider,
  type Script,
  type ScriptedProvider,
} from "../helpers/scripted.ts";
import { type Answer, contact, openWorld, type TestService, type World } from "../helpers/service.ts";

let world: World;
let service: TestService;
let provider: ScriptedProvider;
const scripts = new Map<string, Script>();

beforeAll(async () => {
  world = await openWorld();
  provider = scriptedProvider((request, signal) => (scripts.get(request.to) ?? accept)(request, signal));
  service = await world.start({}, { providers: { sms: provider } });
});
afterAll(() => world[Symbol.asyncDispose]());

let last = 0;
const anybody = (): string => phone((last += 1));

/** A number of which the first call ends so; every later one is accepted. */
function failsOnce(fail: () => Error): string {
  const to = anybody();
  let calls = 0;
  scripts.set(to, (request, signal) => {
    calls += 1;
    if (calls === 1) throw fail();
    return accept(request, signal);
  });
  return to;
}

async function metered(balance: number): Promise<string> {
  const accountId = await world.account();
  await world.credits(accountId, "sms", balance);
  return accountId;
}

async function creditsOf(accountId: string): Promise<string> {
  const select = "select balance, reserved, spent from credits where account_id = $1 and channel = 'sms'";
  const { balance, reserved, spent } = (await world.sql.query(select, [accountId])).rows[0];
  return `${balance} left, ${reserved} reserved, ${spent} spent`;
}

/** A message of an account's hunt whose only attempt has ended so. */
async function ended(fail: () => Error, status: "failed" | "unknown", balance = 5) {
  const accountId = await metered(balance);
  const to = failsOnce(fail);
  const { huntId: id } = await run(service, { accountId, contacts: [contact({ recipientPhone: to })] });
  const [message] = await messagesOf(service, id);
  expect(message).toMatchObject({ status });
  return { accountId, to, messageId: message.messageId as string };
}

const retry = (messageId: string): Promise<Answer> => service.post(`/api/jobs/sms/${messageId}/retry`, undefined);
const resend = (messageId: string): Promise<Answer> =>
  service.post(`/api/messages/${messageId}/resolve`, { as: "resend" });

const suppress = (phoneNumber: string, accountId: string | null): Promise<unknown> =>
  world.sql.query("insert into suppressions (account_id, phone, reason) values ($1, $2, 'stop')", [
    accountId,
    phoneNumber,
  ]);

/** The two ways in which a message that has come to its end is sent again on somebody's word. */
const AGAIN = [
  { way: "a retry", fail: () => refusal(), status: "failed", again: retry },
  { way: "a resend", fail: () => ambiguous(), status: "unknown", again: resend },
] as const;

describe("API6:2023 unrestricted access to sensitive business flows", () => {
  describe("the same hunt again and again", () => {
    test("one after another and all at once → contacts nobody twice, and costs nothing more", async () => {
      const accountId = await metered(50);
      const people = [anybody(), anybody(), anybody()];
      const contacts = people.map((recipientPhone, n) => contact({ adId: `ad_${n}`, recipientPhone }));
      const hunt = { huntId: huntId(), accountId, contacts };
      await run(service, hunt);
      for (let n = 0; n < 5; n++) await run(service, hunt);
      const jobs = await Promise.all(
        Array.from({ length: 10 }, () => submit(service, hunt, { "idempotency-key": randomUUID() })),
      );
      for (const { jobId } of jobs) await finished(service, jobId);
      expect(people.map((to) => provider.callsTo(to))).toEqual([1, 1, 1]);
      expect(await creditsOf(accountId)).toBe("47 left, 0 reserved, 3 spent");
    });

    test("with the same person under other ads, in other spellings → one message over the channel", async () => {
      const accountId = await metered(50);
      const to = anybody();
      const spellings = [to, to.replace("+33", "0"), to.replace("+33", "0033"), to.replace("+33", "+33 (0)")];
      const id = huntId();
      for (const recipientPhone of spellings) {
        await run(service, { huntId: id, accountId, contacts: [contact({ recipientPhone })] });
      }
      expect(provider.callsTo(to)).toBe(1);
      expect(await creditsOf(accountId)).toBe("49 left, 0 reserved, 1 spent");
    });

    test("with another text for the same ad → the person is not written to again", async () => {
      const accountId = await metered(50);
      const to = anybody();
      const id = huntId();
      for (const message of ["Bonjour", "Bonjour encore", "Dernier rappel"]) {
        const contacts = [contact({ adId: "ad", recipientPhone: to, message })];
        await run(service, { huntId: id, accountId, contacts });
      }
      expect(provider.callsTo(to)).toBe(1);
    });
  });

  describe("credits are a hard bound", () => {
    test("twenty hunts and twenty single sends at once for seven credits → seven calls", async () => {
      const accountId = await metered(7);
      const people = Array.from({ length: 40 }, anybody);
      await Promise.all(
        people.map((recipientPhone, n) =>
          n % 2 === 0
            ? submit(service, { accountId, contacts: [contact({ recipientPhone })] })
            : service.post("/api/phone/sms", { recipientPhone, accountId, message: "Bonjour" }),
        ),
      );
      await expect
        .poll(async () => {
          const open = "select 1 from messages where account_id = $1 and settled_at is not null";
          return (await world.sql.query(open, [accountId])).rowCount;
        })
        .toBe(40);
      expect(people.filter((to) => provider.callsTo(to) === 1)).toHaveLength(7);
      expect(people.filter((to) => provider.callsTo(to) > 1)).toEqual([]);
      expect(await creditsOf(accountId)).toBe("0 left, 0 reserved, 7 spent");
    });

    test("a failed message's credit is spent on another → its retry is refused, and nobody is called", async () => {
      const { accountId, to, messageId } = await ended(() => refusal(), "failed", 1);
      await run(service, { accountId, contacts: [contact({ recipientPhone: anybody() })] });
      expect(await retry(messageId)).toMatchObject({
        status: 409,
        body: { code: "not_retryable", detail: expect.stringContaining("credit") },
      });
      expect((await messageOf(service, messageId)).status).toBe("failed");
      expect(provider.callsTo(to)).toBe(1);
      expect(await creditsOf(accountId)).toBe("0 left, 0 reserved, 1 spent");
    });

    test.each(AGAIN)("$way by twenty at once → one call more, one credit", async ({ fail, status, again }) => {
      const { accountId, to, messageId } = await ended(fail, status);
      const answers = await Promise.all(Array.from({ length: 20 }, () => again(messageId)));
      expect(answers.filter(({ status: code }) => code < 300)).toHaveLength(1);
      await settles(service, messageId, "sent");
      expect(provider.callsTo(to)).toBe(2);
      expect(await creditsOf(accountId)).toBe("4 left, 0 reserved, 1 spent");
    });
  });

  describe("who is not to be contacted", () => {
    test.each(["its account", "everybody"])(
      "a number is suppressed for %s → no hunt, no single send and no other spelling reaches it",
      async (scope) => {
        const accountId = await metered(5);
        const to = anybody();
        await suppress(to, scope === "everybody" ? null : accountId);
        for (const recipientPhone of [to, to.replace("+33", "0"), to.replace("+33", "0033")]) {
          const { huntId: id } = await run(service, { accountId, contacts: [contact({ recipientPhone })] });
          expect(await messagesOf(service, id)).toMatchObject([{ status: "skipped", reason: "suppressed" }]);
          const { body } = await service.post("/api/phone/sms", { recipientPhone, accountId, message: "Bonjour" });
          expect(await settles(service, body.messageId, "skipped")).toMatchObject({ reason: "suppressed" });
        }
        expect(provider.callsTo(to)).toBe(0);
        expect(await creditsOf(accountId)).toBe("5 left, 0 reserved, 0 spent");
      },
    );

    test.each(AGAIN)("suppressed since the first try → $way does not reach them", async ({ fail, status, again }) => {
      const { accountId, to, messageId } = await ended(fail, status);
      await suppress(to, accountId);
      await again(messageId);
      await expect.poll(async () => (await messageOf(service, messageId)).status).not.toMatch(/queued|sending/);
      expect((await messageOf(service, messageId)).status).not.toBe("sent");
      expect(provider.callsTo(to)).toBe(1);
      expect(await creditsOf(accountId)).not.toContain("1 spent");
    });

    test("the carrier says never again → a retry does not reach them, in this hunt or the next", async () => {
      const { accountId, to, messageId } = await ended(() => refusal("opted_out", true), "failed");
      await retry(messageId);
      await run(service, { accountId, contacts: [contact({ recipientPhone: to })] });
      await expect.poll(async () => (await messageOf(service, messageId)).status).not.toMatch(/queued|sending/);
      expect(provider.callsTo(to)).toBe(1);
      expect(await creditsOf(accountId)).toBe("5 left, 0 reserved, 0 spent");
    });
  });

  describe("an account that is suspended", () => {
    const suspend = (accountId: string): Promise<unknown> =>
      world.sql.query("update accounts set status = 'suspended' where id = $1", [accountId]);

    test("after its hunt → the same hunt again is refused, and costs nothing", async () => {
      const accountId = await metered(5);
      const hunt = { huntId: huntId(), accountId, contacts: [contact({ recipientPhone: anybody() })] };
      await run(service, hunt);
      await suspend(accountId);
      const more = { ...hunt, contacts: [contact({ recipientPhone: anybody() })] };
      for (const body of [hunt, more]) {
        expect(await service.post("/api/hunt/execute", body)).toMatchObject({
          status: 403,
          body: { code: "suspended_account" },
        });
      }
      expect(await messagesOf(service, hunt.huntId)).toHaveLength(1);
      expect(await creditsOf(accountId)).toBe("4 left, 0 reserved, 1 spent");
    });
  });

  const suspend = (accountId: string) =>
    world.sql.query("update accounts set status = 'suspended' where id = $1", [accountId]);

  test.each(AGAIN)("a suspended account, after a try → $way does not call anybody", async ({ fail, status, again }) => {
    const { accountId, to, messageId } = await ended(fail, status);
    await suspend(accountId);
    await again(messageId);
    await expect.poll(async () => (await messageOf(service, messageId)).status).toBe("skipped");
    expect((await messageOf(service, messageId)).reason).toBe("suspended_account");
    expect(provider.callsTo(to)).toBe(1);
    expect(await creditsOf(accountId)).not.toContain("1 spent");
  });

  test("an account that is suspended while its messages wait in the queue → they are not sent", async () => {
    const accountId = await metered(5);
    const to = anybody();
    await world.queue("sms").pause();
    const { huntId: id } = await submit(service, { accountId, contacts: [contact({ recipientPhone: to })] });
    await expect.poll(() => messagesOf(service, id)).toMatchObject([{ status: "queued" }]);
    await suspend(accountId);
    await world.queue("sms").resume();
    await expect
      .poll(() => messagesOf(service, id))
      .toMatchObject([{ status: "skipped", reason: "suspended_account" }]);
    expect(provider.callsTo(to)).toBe(0);
  });
});
