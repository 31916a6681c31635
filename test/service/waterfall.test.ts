import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ProviderDeps } from "../../src/channels/provider-definition.ts";
import type { Receipt } from "../../src/core/inbound.ts";
import { CHANNELS } from "../../src/modules.ts";
import { finished, huntId, messagesOf, phone, submit } from "../helpers/hunts.ts";
import { until } from "../helpers/ledger.ts";
import {
  accept,
  ambiguous,
  notSent,
  refusal,
  scriptedChannel,
  scriptedProvider,
  type Script,
} from "../helpers/scripted.ts";
import { openWorld, type TestService, type World } from "../helpers/service.ts";

const WANTED: Record<string, string> = {};
let world: World;
let service: TestService;
let inbound: ProviderDeps["inbound"];

const carry: Script = (request, signal) => {
  switch (WANTED[request.to]) {
    case "refused":
      throw refusal();
    case "stopped":
      throw refusal("blacklisted", true);
    case "unreachable":
      throw notSent();
    case "lost":
      throw ambiguous();
    default:
      return accept(request, signal);
  }
};
const whatsapp = scriptedProvider(carry);
const sms = scriptedProvider(accept, { name: "texter" });

beforeAll(async () => {
  world = await openWorld();
  const channels = CHANNELS.map((channel) =>
    channel.name === "whatsapp_text"
      ? scriptedChannel(channel, (given) => {
          inbound = given;
          return whatsapp;
        })
      : channel,
  );
  service = await world.start({ JOB_BACKOFF_MS: "10" }, { providers: { sms } }, channels);
});
afterAll(() => world[Symbol.asyncDispose]());

const BOTH = ["whatsapp_text", "sms"];

async function hunt(people: readonly string[], first: number, fields: object = {}) {
  const accountId = await world.account();
  await world.credits(accountId, "whatsapp_text", 50);
  await world.credits(accountId, "sms", 50);
  const contacts = people.map((adId, i) => {
    WANTED[phone(first + i)] = adId;
    return { adId, recipientPhone: phone(first + i), channels: BOTH, message: "Bonjour" };
  });
  const accepted = await submit(service, { huntId: huntId(), accountId, contacts, ...fields });
  await finished(service, accepted.jobId);
  const credits = async (): Promise<unknown> => {
    const query =
      "select channel, balance::int, reserved::int, spent::int from credits where account_id = $1 order by 1";
    const { rows } = await world.sql.query(query, [accountId]);
    return Object.fromEntries(rows.map(({ channel, ...rest }) => [channel, rest]));
  };
  const idOf = async (adId: string): Promise<string> => {
    const messages = await messagesOf(service, accepted.huntId);
    return messages.find((message) => message.adId === adId && message.channel === "whatsapp_text").messageId;
  };
  const receipt = async (adId: string, status: Receipt["status"]): Promise<void> => {
    const { rows } = await world.sql.query("select provider_message_id as id from messages where id = $1", [
      await idOf(adId),
    ]);
    const about = { provider: "scripted", providerMessageId: rows[0].id, at: Date.now() };
    await inbound.receipt({ ...about, status, ...(status === "failed" ? { code: "undelivered" } : {}) });
  };
  /** Who was tried over what, as `adId: channel status`. */
  const tried = async (): Promise<string[]> =>
    (await messagesOf(service, accepted.huntId))
      .map(({ adId, channel, status, reason }) => `${adId}: ${channel} ${reason ?? status}`)
      .toSorted();
  const reply = async (adId: string, stop: boolean): Promise<void> => {
    const at = new Date().toISOString();
    const row = {
      account_id: accountId,
      phone: phone(first + people.indexOf(adId)),
      provider: "scripted",
      text: "x",
      stop,
      at,
    };
    await world.sql.query("select record_reply($1)", [{ ...row, reply_id: randomUUID() }]);
  };
  return { ...accepted, accountId, credits, receipt, tried, reply, idOf };
}

/** Their time is up; several sweepers look at once. */
async function timeIsUp(): Promise<void> {
  await world.sql.query("update fallbacks set due_at = now()");
  await Promise.all(Array.from({ length: 4 }, () => world.sql.query("select continue_fallbacks(1000)")));
}

test("who was refused for good, or provably has not got it → is tried over the next channel, once; nobody else is", async () => {
  const people = ["refused", "stopped", "unreachable", "lost", "undelivered", "delivered", "silent"];
  const it = await hunt(people, 100);
  await it.receipt("delivered", "delivered");
  await Promise.all([it.receipt("undelivered", "failed"), it.receipt("undelivered", "failed")]);
  // Without a limit nobody waits for a delivery.
  await timeIsUp();
  const expected = [
    "delivered: whatsapp_text delivered",
    "lost: whatsapp_text unknown",
    "refused: sms sent",
    "refused: whatsapp_text failed",
    "silent: whatsapp_text sent",
    "stopped: sms suppressed",
    "stopped: whatsapp_text failed",
    "undelivered: sms sent",
    "undelivered: whatsapp_text failed",
    "unreachable: whatsapp_text failed",
  ];
  expect(await until(it.tried, (all) => all.filter((each) => each.endsWith("sms sent")).length === 2)).toEqual(
    expected,
  );
  expect(await it.credits()).toEqual({
    sms: { balance: 48, reserved: 0, spent: 2 },
    // Nobody knows of one: it stays reserved.
    whatsapp_text: { balance: 46, reserved: 1, spent: 3 },
  });
  // By hand neither: the person was written to already.
  const retried = await service.post(`/api/jobs/whatsapp/${await it.idOf("refused")}/retry`, undefined);
  expect(retried).toMatchObject({ status: 409, body: { code: "not_retryable" } });
  const other = await service.post(`/api/jobs/whatsapp/${await it.idOf("unreachable")}/retry`, undefined);
  expect(other.status).toBe(202);
  expect(sms.calls.filter(({ to }) => [phone(100), phone(104)].includes(to))).toHaveLength(2);
});

test("who is not delivered in time → gets the next channel once; not who was, has answered, said stop or is of a hunt that was cancelled", async () => {
  const people = ["late", "delivered", "answered", "stop", "silent"];
  const it = await hunt(people, 200, { fallbackAfterSeconds: 3600 });
  const { rows } = await world.sql.query(
    "select extract(epoch from min(due_at) - now()) > 3500 as later, count(*)::int as n from fallbacks",
  );
  expect(rows).toEqual([{ later: true, n: 5 }]);
  await it.receipt("delivered", "delivered");
  await it.reply("answered", false);
  await it.reply("stop", true);
  await timeIsUp();
  const expected = [
    "answered: whatsapp_text sent",
    "delivered: whatsapp_text delivered",
    "late: sms sent",
    "late: whatsapp_text sent",
    "silent: sms sent",
    "silent: whatsapp_text sent",
    "stop: whatsapp_text sent",
  ];
  expect(await until(it.tried, (all) => all.filter((each) => each.endsWith("sms sent")).length === 2)).toEqual(
    expected,
  );
  await it.receipt("late", "delivered");
  await it.receipt("silent", "failed");
  await timeIsUp();
  expect(await it.tried()).toEqual(
    expected.map((each) =>
      each
        .replace("late: whatsapp_text sent", "late: whatsapp_text delivered")
        .replace("silent: whatsapp_text sent", "silent: whatsapp_text failed"),
    ),
  );
  expect(await it.credits()).toMatchObject({
    sms: { balance: 48, spent: 2 },
    whatsapp_text: { balance: 45, spent: 5 },
  });

  const over = await hunt(["silent"], 220, { fallbackAfterSeconds: 3600 });
  await service.post(`/api/hunt/${over.huntId}/cancel`, undefined);
  await timeIsUp();
  // After a restored backup nobody knows whether the next one was sent already.
  const restored = await hunt(["silent"], 230, { fallbackAfterSeconds: 3600 });
  await world.sql.query("select adopt_epoch((select value from epoch) + 5)");
  await timeIsUp();
  for (const { tried } of [over, restored]) expect(await tried()).toEqual(["silent: whatsapp_text sent"]);
  expect((await world.sql.query("select 1 from fallbacks")).rowCount).toBe(0);
});

test("a contact given twice, its channels in another order, and its number under another adId → one way, which goes on", async () => {
  const accountId = await world.account();
  const [sent, refused] = [phone(700), phone(701)];
  WANTED[refused] = "refused";
  const way = (adId: string, recipientPhone: string, channels: string[]) => ({
    adId,
    recipientPhone,
    channels,
    message: "x",
  });
  const other = BOTH.toReversed();
  const contacts = [
    ...["a", "a", "b"].map((adId, i) => way(adId, sent, i === 0 ? BOTH : other)),
    ...["c", "c", "d"].map((adId, i) => way(adId, refused, i === 0 ? BOTH : other)),
  ];
  const hunt = { huntId: huntId(), accountId, contacts };
  const { body: preview } = await service.post("/api/hunt/preview", hunt);
  expect(preview).toMatchObject({ send: 2, skipped: 4, reasons: { duplicate: 4 } });
  const { jobId } = await submit(service, hunt);
  await finished(service, jobId);
  const tried = (await messagesOf(service, hunt.huntId)).map(
    ({ adId, channel, status, reason }) => `${adId}: ${channel} ${reason ?? status}`,
  );
  expect(tried.filter((each) => !each.endsWith("duplicate")).toSorted()).toEqual([
    "a: whatsapp_text sent",
    "c: sms sent",
    "c: whatsapp_text failed",
  ]);
  expect(tried).toHaveLength(7);

  // In another chunk, and where one has the number over one channel alone.
  const single = { adId: "g", recipientPhone: phone(702), channel: "sms", message: "x" };
  const more = [way("e", sent, other), way("f", refused, BOTH), single, way("h", phone(702), BOTH)];
  const { body: again } = await service.post("/api/hunt/preview", { ...hunt, contacts: more });
  expect(again).toMatchObject({ send: 1, skipped: 3, reasons: { duplicate: 3 } });
  await finished(service, (await submit(service, { ...hunt, contacts: more })).jobId);
  const now = (await messagesOf(service, hunt.huntId)).slice(7);
  expect(now.map(({ adId, status, reason }) => `${adId}: ${reason ?? status}`).toSorted()).toEqual([
    "e: duplicate",
    "f: duplicate",
    "g: sent",
    "h: duplicate",
  ]);
  expect([whatsapp.callsTo(sent), sms.callsTo(sent)]).toEqual([1, 0]);
});
