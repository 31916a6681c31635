import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { openTestDatabase } from "../../dev/stack/databases.ts";
import { createSupabaseStore } from "../../src/store/supabase.ts";
import { finished, messageOf, messagesOf, phone, run, settles, submit } from "../helpers/hunts.ts";
import {
  accept,
  ambiguous,
  refusal,
  scriptedProvider,
  type Script,
  type ScriptedProvider,
} from "../helpers/scripted.ts";
import { contact, openWorld, type Answer, type TestService, type World } from "../helpers/service.ts";

/** The sandbox's number that answers as if timed out, and can never tell what became of it. */
const UNKNOWN = "+33612340004";

let world: World;
/** Its SMS are carried by `provider`, everything else by the sandbox. */
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

/** A number of its own: the n-th call does what the n-th script says, later ones what the last does. */
function number(...turns: Script[]): string {
  const to = phone((last += 1));
  let calls = 0;
  scripts.set(to, (request, signal) => (turns[Math.min(calls++, turns.length - 1)] as Script)(request, signal));
  return to;
}

const breaks: Script = () => {
  throw ambiguous();
};
const refuses: Script = () => {
  throw refusal();
};

async function creditOf(messageId: string): Promise<string> {
  return (await world.sql.query("select credit from messages where id = $1", [messageId])).rows[0].credit;
}

/** A metered account with a message of a hunt whose only attempt is of unknown fate. */
async function unknown(...afterwards: Script[]) {
  const accountId = await world.account();
  await world.credits(accountId, "sms", 10);
  const to = number(breaks, ...afterwards);
  const { jobId, huntId } = await run(service, { accountId, contacts: [contact({ adId: "ad", recipientPhone: to })] });
  const [message] = await messagesOf(service, huntId);
  expect(message).toMatchObject({ status: "unknown", code: "ambiguous", attempts: 1 });
  return { accountId, to, jobId, messageId: message.messageId as string };
}

const resolve = (messageId: string, as: string, headers?: Record<string, string>): Promise<Answer> =>
  service.post(`/api/messages/${messageId}/resolve`, { as }, headers);

async function creditsOf(accountId: string): Promise<string> {
  const select = "select balance, reserved, spent from credits where account_id = $1 and channel = 'sms'";
  const { balance, reserved, spent } = (await world.sql.query(select, [accountId])).rows[0];
  return `${balance} left, ${reserved} reserved, ${spent} spent`;
}

async function eventsOf(messageId: string): Promise<string[]> {
  const select = "select kind, code from message_events where message_id = $1 order by id";
  const { rows } = await world.sql.query(select, [messageId]);
  return rows.map(({ kind, code }) => [kind, code].filter(Boolean).join(": "));
}

describe("GET /api/messages", () => {
  test("messages of unknown fate → are listed by account, in order, page by page", async () => {
    const accountId = await world.account();
    const contacts = Array.from({ length: 5 }, (_, n) =>
      contact({ adId: `ad_${n}`, channel: "whatsapp_text", recipientPhone: `+336123${n}0004` }),
    );
    contacts.push(contact({ channel: "whatsapp_text", recipientPhone: phone(9000) }));
    await run(service, { accountId, contacts });
    await run(service, { accountId: await world.account(), contacts: [contact({ recipientPhone: number(breaks) })] });

    const seen: string[] = [];
    const sizes: number[] = [];
    let cursor = "";
    do {
      const { body } = await service.get(`/api/messages?status=unknown&accountId=${accountId}&limit=2${cursor}`);
      seen.push(...body.messages.map(({ adId }: { adId: string }) => adId));
      sizes.push(body.messages.length);
      for (const message of body.messages)
        expect(message).toMatchObject({ accountId, status: "unknown", code: "ambiguous" });
      cursor = body.nextCursor === null ? "" : `&cursor=${body.nextCursor}`;
    } while (cursor !== "");
    expect(seen).toEqual(["ad_0", "ad_1", "ad_2", "ad_3", "ad_4"]);
    expect(sizes).toEqual([2, 2, 1]);

    const { body } = await service.get("/api/messages?status=unknown&limit=1000");
    expect(new Set(body.messages.map((message: { accountId: string }) => message.accountId)).size).toBeGreaterThan(1);
  });

  test("failed messages → are listed as such; an account without any has none", async () => {
    const accountId = await world.account();
    await run(service, { accountId, contacts: [contact({ adId: "bad", recipientPhone: number(refuses) })] });
    const list = async (query: string) => (await service.get(`/api/messages?${query}`)).body;
    expect(await list(`status=failed&accountId=${accountId}`)).toMatchObject({
      messages: [{ adId: "bad", code: "refused" }],
      nextCursor: null,
    });
    expect(await list(`status=unknown&accountId=${accountId}`)).toEqual({ messages: [], nextCursor: null });
    expect(await list("status=failed&accountId=acc_nobody")).toEqual({ messages: [], nextCursor: null });
  });

  test("a database that gives at most 1,000 rows an answer, as hosted ones do → the list goes on all the same", async () => {
    await using database = await openTestDatabase(inject("stack"), { maxRows: 1000 });
    await database.sql.query(
      `insert into messages (id, channel, queue, recipient, content, status)
       select gen_random_uuid(), 'sms', 'sms', '+33612345678', '{}', 'unknown' from generate_series(1, 1001)`,
    );
    const store = createSupabaseStore({
      url: database.supabaseUrl,
      serviceKey: database.supabaseServiceKey,
      timeoutMs: 10_000,
    });
    const page = (cursor: string | undefined) =>
      store.messages({ status: "unknown", accountId: undefined, cursor, limit: 1000 });
    const first = await page(undefined);
    expect(first.messages).toHaveLength(1000);
    expect(first.nextCursor).toBeDefined();
    const second = await page(first.nextCursor);
    expect([second.messages.length, second.nextCursor]).toEqual([1, undefined]);
    await store.close();
  });

  test.each(["status=sent", "", "status=unknown&limit=0", "status=unknown&limit=1001", "status=unknown&cursor=x"])(
    "the query %j → 400",
    async (query) => {
      expect(await service.get(`/api/messages?${query}`)).toMatchObject({
        status: 400,
        body: { code: "invalid_request" },
      });
    },
  );
});

test("/metrics → counts what is unknown, and attempts by what they came to; only with the token", async () => {
  await using fresh = await openWorld();
  const quiet = await fresh.start();
  const page = async (): Promise<string> => (await quiet.get("/metrics")).body;
  expect(await page()).toMatch(/^auto_prospect_messages_unknown 0$/m);
  const contacts = [UNKNOWN, phone(1), phone(2), "+33612340001"].map((recipientPhone) => contact({ recipientPhone }));
  await run(quiet, { accountId: await fresh.account(), contacts });
  const attempts = (result: string): string =>
    `auto_prospect_attempts_total{channel="sms",provider="sandbox",result="${result}"}`;
  const text = await page();
  expect(text).toMatch(/^auto_prospect_messages_unknown 1$/m);
  expect(text).toContain(`${attempts("sent")} 2\n`);
  expect(text).toContain(`${attempts("ambiguous")} 1\n`);
  expect(text).toContain(`${attempts("failed")} 1\n`);
  expect(text).toContain('auto_prospect_attempt_seconds_count{channel="sms",provider="sandbox"} 4\n');
  expect((await quiet.get("/metrics", { authorization: "" })).status).toBe(401);

  const { body } = await quiet.get("/api/messages?status=unknown");
  await quiet.post(`/api/messages/${body.messages[0].messageId}/resolve`, { as: "sent" });
  expect(await page()).toMatch(/^auto_prospect_messages_unknown 0$/m);
});

describe("POST /api/messages/:messageId/resolve", () => {
  test("as sent → it counts as sent, its credit is spent, nobody is called", async () => {
    const { accountId, messageId, jobId, to } = await unknown();
    expect(await creditsOf(accountId)).toBe("9 left, 1 reserved, 0 spent");
    expect(await resolve(messageId, "sent")).toMatchObject({ status: 200, body: { messageId, as: "sent" } });
    expect(await messageOf(service, messageId)).toMatchObject({
      status: "sent",
      code: null,
      sentAt: expect.any(String),
    });
    expect(await creditsOf(accountId)).toBe("9 left, 0 reserved, 1 spent");
    expect(await creditOf(messageId)).toBe("spent");
    expect(await eventsOf(messageId)).toEqual(["ambiguous: reset", "unknown: ambiguous", "resolved: sent"]);
    expect((await finished(service, jobId)).counts).toMatchObject({ sent: 1, unknown: 0 });
    expect(provider.callsTo(to)).toBe(1);
    expect(await service.post(`/api/jobs/sms/${messageId}/retry`, undefined)).toMatchObject({ status: 409 });
  });

  test("as sent → the contact's lead has been contacted", async () => {
    const { accountId, messageId } = await unknown();
    await resolve(messageId, "sent");
    const { rows } = await world.sql.query("select stage from leads where account_id = $1", [accountId]);
    expect(rows).toEqual([{ stage: "contacted" }]);
  });

  test("as not sent → it counts as failed, its credit comes back; a retry sends it once", async () => {
    const { accountId, messageId, jobId, to } = await unknown(accept);
    expect(await resolve(messageId, "not_sent")).toMatchObject({ status: 200 });
    expect(await messageOf(service, messageId)).toMatchObject({
      status: "failed",
      code: "resolved_not_sent",
      sentAt: null,
    });
    expect(await creditsOf(accountId)).toBe("10 left, 0 reserved, 0 spent");
    expect(await creditOf(messageId)).toBe("released");

    expect(await service.post(`/api/jobs/sms/${messageId}/retry`, undefined)).toMatchObject({ status: 202 });
    expect(await settles(service, messageId, "sent")).toMatchObject({ attempts: 2, code: null });
    expect(await creditsOf(accountId)).toBe("9 left, 0 reserved, 1 spent");
    expect(provider.callsTo(to)).toBe(2);
    expect(await eventsOf(messageId)).toEqual([
      "ambiguous: reset",
      "unknown: ambiguous",
      "resolved: not_sent",
      "requeued",
      "sent",
    ]);
    expect((await finished(service, jobId)).counts).toMatchObject({ sent: 1, failed: 0 });
  });

  test("as resend → it is sent again exactly once more, on the credit that it has", async () => {
    const { accountId, messageId, jobId, to } = await unknown(accept);
    expect(await resolve(messageId, "resend")).toMatchObject({ status: 200, body: { messageId, as: "resend" } });
    expect(await settles(service, messageId, "sent")).toMatchObject({ attempts: 2 });
    expect(await creditsOf(accountId)).toBe("9 left, 0 reserved, 1 spent");
    expect(provider.callsTo(to)).toBe(2);
    expect(await eventsOf(messageId)).toEqual(["ambiguous: reset", "unknown: ambiguous", "resolved: resend", "sent"]);
    expect((await finished(service, jobId)).counts).toMatchObject({ sent: 1, unknown: 0 });
    expect(await resolve(messageId, "resend")).toMatchObject({ status: 409, body: { code: "not_unknown" } });
  });

  test("as resend, and it is ambiguous again → unknown again, its credit still reserved", async () => {
    const { accountId, messageId, to } = await unknown(breaks);
    await resolve(messageId, "resend");
    await expect.poll(async () => (await messageOf(service, messageId)).attempts).toBe(2);
    await settles(service, messageId, "unknown");
    expect(await creditsOf(accountId)).toBe("9 left, 1 reserved, 0 spent");
    expect(provider.callsTo(to)).toBe(2);
  });

  test("as resend by ten at once → sent again once", async () => {
    const { messageId, to } = await unknown(accept);
    const answers = await Promise.all(Array.from({ length: 10 }, () => resolve(messageId, "resend")));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 409)).toHaveLength(9);
    await settles(service, messageId, "sent");
    expect(provider.callsTo(to)).toBe(2);
  });

  test("of ten people with two opinions → one is taken, the credit moves once", async () => {
    const { accountId, messageId } = await unknown();
    const opinions = ["sent", "not_sent"];
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, n) => resolve(messageId, opinions[n % 2] as string)),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    const { status } = await messageOf(service, messageId);
    expect(await creditsOf(accountId)).toBe(
      status === "sent" ? "9 left, 0 reserved, 1 spent" : "10 left, 0 reserved, 0 spent",
    );
  });

  test("the same Idempotency-Key again → the same answer; with another body → 409", async () => {
    const { accountId, messageId, to } = await unknown(accept);
    const headers = { "idempotency-key": randomUUID() };
    const first = await resolve(messageId, "resend", headers);
    await settles(service, messageId, "sent");
    const again = await resolve(messageId, "resend", headers);
    expect([again.status, again.body]).toEqual([200, first.body]);
    expect(await resolve(messageId, "sent", headers)).toMatchObject({
      status: 409,
      body: { code: "idempotency_conflict" },
    });
    expect(provider.callsTo(to)).toBe(2);
    expect(await creditsOf(accountId)).toBe("9 left, 0 reserved, 1 spent");
  });

  test("the same Idempotency-Key ten times at once → ten equal answers", async () => {
    const { messageId } = await unknown();
    const headers = { "idempotency-key": randomUUID() };
    const answers = await Promise.all(Array.from({ length: 10 }, () => resolve(messageId, "sent", headers)));
    expect(answers.map(({ status, body }) => ({ status, body }))).toEqual(
      Array.from({ length: 10 }, () => ({ status: 200, body: { messageId, as: "sent" } })),
    );
    expect((await eventsOf(messageId)).filter((event) => event === "resolved: sent")).toHaveLength(1);
  });

  test("a message that is not unknown → 409 not_unknown, and it stays what it was", async () => {
    const accountId = await world.account();
    const contacts = [
      contact({ adId: "sent", recipientPhone: number(accept) }),
      contact({ adId: "failed", recipientPhone: number(refuses) }),
      contact({ adId: "skipped", recipientPhone: "12" }),
    ];
    const { huntId } = await run(service, { accountId, contacts });
    for (const { messageId, status } of await messagesOf(service, huntId)) {
      for (const as of ["sent", "not_sent", "resend"]) {
        expect(await resolve(messageId, as)).toMatchObject({
          status: 409,
          body: { code: "not_unknown", detail: expect.stringContaining(status) },
        });
      }
      expect((await messageOf(service, messageId)).status).toBe(status);
    }
  });

  test("nobody's message → 404; another word than the three → 400", async () => {
    expect(await resolve(randomUUID(), "sent")).toMatchObject({ status: 404, body: { code: "not_found" } });
    expect(await resolve("not-a-uuid", "sent")).toMatchObject({ status: 404, body: { code: "not_found" } });
    const { messageId } = await unknown();
    expect(await resolve(messageId, "delivered")).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: "/as" }] },
    });
    expect((await messageOf(service, messageId)).status).toBe("unknown");
  });
});

describe("an account that would rather write twice than not at all", () => {
  async function resending(
    ...turns: Script[]
  ): Promise<{ jobId: string; huntId: string; to: string; accountId: string }> {
    const accountId = await world.account();
    await world.sql.query("update accounts set resend_unknown = true where id = $1", [accountId]);
    await world.credits(accountId, "sms", 10);
    const to = number(...turns);
    const accepted = await submit(service, { accountId, contacts: [contact({ recipientPhone: to })] });
    return { ...accepted, to, accountId };
  }

  test("an ambiguous attempt → sent again once by itself", async () => {
    const { jobId, huntId, to, accountId } = await resending(breaks, accept);
    await finished(service, jobId);
    expect(await messagesOf(service, huntId)).toMatchObject([{ status: "sent", attempts: 2 }]);
    expect(provider.callsTo(to)).toBe(2);
    expect(await creditsOf(accountId)).toBe("9 left, 0 reserved, 1 spent");
  });

  test("a second ambiguity → unknown, and not called a third time", async () => {
    const { jobId, huntId, to, accountId } = await resending(breaks, breaks, accept);
    await finished(service, jobId);
    expect(await messagesOf(service, huntId)).toMatchObject([{ status: "unknown", attempts: 2 }]);
    expect(provider.callsTo(to)).toBe(2);
    expect(await creditsOf(accountId)).toBe("9 left, 1 reserved, 0 spent");
  });
});
