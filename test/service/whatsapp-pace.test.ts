import { afterAll, beforeAll, expect, test } from "vitest";
import type { FakeWhatsApp } from "../fakes/whatsapp/server.ts";
import type { ReceivedMessage } from "../fakes/whatsapp/world.ts";
import { messageOf, phone as recipient, settles } from "../helpers/hunts.ts";
import { openWorld, type TestService, type World } from "../helpers/service.ts";
import {
  openFakeWhatsApp,
  pairedAccount,
  sendText,
  sessionOf,
  untilState,
  whatsappEnvironment,
} from "../helpers/whatsapp.ts";

let world: World;
let fake: FakeWhatsApp;
/** What is shown of a session's pace is written when its lease is renewed. */
const environment = (extra: Record<string, string> = {}) =>
  whatsappEnvironment(fake, { WHATSAPP_LEASE_MS: "3000", ...extra });
/** Its sessions have no limits of their own: each test sets those of its session. */
let service: TestService;

beforeAll(async () => {
  fake = await openFakeWhatsApp();
  world = await openWorld();
  service = await world.start(environment());
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await fake.stop();
});

let last = 5000;
const person = (): string => recipient((last += 1));

/** A session with a pace of its own, once that is in force. */
async function paced(settings: Record<string, unknown>, [where, on] = [world, service] as const) {
  const session = await pairedAccount(where, on, fake);
  expect((await on.post(`/api/whatsapp/sessions/${session.id}/settings`, settings)).status).toBe(200);
  await expect.poll(async () => (await sessionOf(on, session.id)).pace).toMatchObject(settings);
  return session;
}

const sentFrom = (phone: string): ReceivedMessage[] => fake.messages.filter(({ from }) => from === phone);

/** A message that somebody knows the number by. */
async function known(accountId: string, to = person()): Promise<string> {
  await settles(service, await sendText(service, accountId, to), "delivered");
  return to;
}

/** Waits until a message has been put off, and stays queued. */
async function isPutOff(id: string, messageId: string): Promise<void> {
  await expect
    .poll(async () => (await world.queue(`whatsapp.${id}`).getDelayed()).map(({ id: job }) => job))
    .toContain(messageId);
  expect(await messageOf(service, messageId)).toMatchObject({ status: "queued", attempts: 0 });
}

test("the environment's pace: gaps between the shortest and the rate's, uneven, and shown in the session's status", async () => {
  await using own = await openWorld();
  const slow = await own.start(
    environment({
      WHATSAPP_MESSAGES_PER_MINUTE: "300",
      WHATSAPP_MIN_GAP_MS: "80",
      WHATSAPP_MAX_GAP_MS: "400",
      WHATSAPP_NEW_CONTACTS_PER_DAY: "1000",
      WHATSAPP_WARM_UP_DAYS: "0",
    }),
  );
  const { id, phone, accountId } = await pairedAccount(own, slow, fake);
  const asked = Date.now();
  const ids = await Promise.all(Array.from({ length: 12 }, () => sendText(slow, accountId, person())));
  for (const messageId of ids) await settles(slow, messageId, "delivered");
  const times = sentFrom(phone).map(({ at }) => at.getTime());
  const gaps = times.slice(1).map((at, i) => at - (times[i] ?? 0));
  expect(gaps).toHaveLength(11);
  // The clock by which they arrive has whole milliseconds.
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(79);
  expect(Math.max(...gaps) - Math.min(...gaps)).toBeGreaterThan(40);
  // 300 a minute and two at once: ten of the twelve had to wait for a token.
  expect((times.at(-1) ?? 0) - asked).toBeGreaterThanOrEqual(1999);
  await expect
    .poll(async () => (await sessionOf(slow, id)).pace)
    .toMatchObject({
      messagesPerMinute: 300,
      minGapMs: 80,
      maxGapMs: 400,
      typing: false,
      newContactsPerDay: 1000,
      warmUpDays: 0,
      newContactsToday: 12,
      newContactsAllowedToday: 1000,
      coldPausedUntil: null,
      waiting: 0,
      tokens: expect.any(Number),
      nextSendAt: expect.any(String),
    });
});

test("WhatsApp takes a message late → the next one keeps the shortest gap from then", async () => {
  const { phone, accountId } = await paced({ minGapMs: 400, maxGapMs: 400 });
  fake.onSend({ from: phone, outcome: "ack", delayMs: 400, times: 1 });
  const ids = [await sendText(service, accountId, person()), await sendText(service, accountId, person())];
  for (const messageId of ids) await settles(service, messageId, "delivered");
  // Two clocks with whole milliseconds.
  const [first, second] = sentFrom(phone).map(({ at }) => at.getTime());
  expect((second ?? 0) - (first ?? 0)).toBeGreaterThanOrEqual(798);
});

test("typing… is shown before each text, for longer before a longer one", async () => {
  const [short, long] = [await paced({ typing: true }), await paced({ typing: true })];
  const texts = { short: "Bonjour", long: "x".repeat(70) };
  const ids = [
    await sendText(service, short.accountId, person(), texts.short),
    await sendText(service, long.accountId, person(), texts.long),
  ];
  for (const messageId of ids) await settles(service, messageId, "delivered");
  const typedMs = ({ phone }: { phone: string }): number => {
    const states = fake.chatStates.filter(({ from }) => from === phone);
    const [message] = sentFrom(phone);
    expect(states).toMatchObject([{ to: message?.to, state: "composing" }]);
    return (message?.at.getTime() ?? 0) - (states[0]?.at.getTime() ?? 0);
  };
  // 1 s at least; 70 characters of 35 ms, a fifth more or less.
  expect(typedMs(short)).toBeGreaterThanOrEqual(950);
  expect(typedMs(short)).toBeLessThan(typedMs(long));
  expect(typedMs(long)).toBeGreaterThanOrEqual(1900);
});

test("a slow session does not slow another one", async () => {
  const slow = await paced({ messagesPerMinute: 1 });
  const quick = await pairedAccount(world, service, fake);
  const waiting = await Promise.all(Array.from({ length: 4 }, () => sendText(service, slow.accountId, person())));
  await expect.poll(() => sentFrom(slow.phone).length).toBe(1);
  const ids = await Promise.all(Array.from({ length: 15 }, () => sendText(service, quick.accountId, person())));
  for (const messageId of ids) await settles(service, messageId, "delivered");
  expect(sentFrom(slow.phone)).toHaveLength(1);
  await expect.poll(async () => (await sessionOf(service, slow.id)).pace).toMatchObject({ waiting: 1 });
  const { pace } = await sessionOf(service, slow.id);
  expect(Date.parse(pace.nextSendAt)).toBeGreaterThan(Date.now() + 30_000);
  // Another pace counts for those that are waiting already.
  await service.post(`/api/whatsapp/sessions/${slow.id}/settings`, {});
  for (const messageId of waiting) await settles(service, messageId, "delivered");
});

test("a new number's first day: five first contacts of ten, the others wait, people it knows do not; counted on after a restart", async () => {
  await using own = await openWorld();
  const first = await own.start(environment());
  const { id, phone, accountId } = await paced({ newContactsPerDay: 10 }, [own, first]);
  const people = Array.from({ length: 7 }, person);
  const ids = await Promise.all(people.map((to) => sendText(first, accountId, to)));
  const statuses = async (on: TestService) => {
    const messages = await Promise.all(ids.map((messageId) => messageOf(on, messageId)));
    return messages.map(({ status }) => status).toSorted();
  };
  await expect.poll(() => statuses(first)).toEqual([...Array(5).fill("delivered"), "queued", "queued"]);
  await expect.poll(async () => (await own.queue(`whatsapp.${id}`).getDelayed()).length).toBe(2);
  await expect
    .poll(async () => (await sessionOf(first, id)).pace)
    .toMatchObject({ newContactsToday: 5, newContactsAllowedToday: 5, newContactsPerDay: 10 });
  const [acquainted] = sentFrom(phone);
  await settles(first, await sendText(first, accountId, acquainted?.to ?? "", "encore"), "delivered");
  await first.stop();

  const second = await own.start(environment());
  await untilState(second, id, "open");
  const late = await sendText(second, accountId, person());
  await expect.poll(async () => (await own.queue(`whatsapp.${id}`).getDelayed()).length).toBe(3);
  expect((await messageOf(second, late)).status).toBe("queued");
  await expect.poll(async () => (await sessionOf(second, id)).pace).toMatchObject({ newContactsToday: 5 });
  await settles(second, await sendText(second, accountId, acquainted?.to ?? "", "toujours"), "delivered");
  expect(await statuses(second)).toEqual([...Array(5).fill("delivered"), "queued", "queued"]);

  await second.post(`/api/whatsapp/sessions/${id}/settings`, { newContactsPerDay: 10, warmUpDays: 0 });
  await expect.poll(async () => (await sessionOf(second, id)).pace).toMatchObject({ newContactsAllowedToday: 10 });
  // Nobody has to wait until they look again by themselves.
  for (const messageId of [...ids, late]) await settles(second, messageId, "delivered");
});

test("463 → that message fails and is not tried again, an alert, first contacts rest for a day, known people hear on", async () => {
  const { id, phone, accountId } = await pairedAccount(world, service, fake);
  const friend = await known(accountId);
  const stranger = person();
  fake.onSend({ from: phone, to: stranger, outcome: { error: 463 }, times: 1 });
  const refused = await sendText(service, accountId, stranger);
  expect(await settles(service, refused, "failed")).toMatchObject({
    code: "whatsapp_463",
    detail: "WhatsApp restricts first contacts from this number for now.",
    attempts: 1,
  });
  await expect.poll(async () => (await sessionOf(service, id)).coldPausedUntil).toBeTypeOf("string");
  const session = await sessionOf(service, id);
  const until = new Date(session.coldPausedUntil).toISOString();
  const restMs = Date.parse(until) - Date.now();
  expect(restMs).toBeGreaterThan(23.9 * 3_600_000);
  expect(restMs).toBeLessThanOrEqual(24 * 3_600_000);
  expect(session).toMatchObject({
    state: "open",
    lastError: "WhatsApp restricts first contacts from this number for now.",
    pace: { coldPausedUntil: until },
  });
  expect(service.logs).toContainEqual(expect.objectContaining({ level: 50, sessionId: id, until }));
  const cold = await sendText(service, accountId, person());
  await isPutOff(id, cold);
  await settles(service, await sendText(service, accountId, friend, "encore"), "delivered");
  // Whom WhatsApp kept from hearing of us is a stranger still.
  await service.post(`/api/jobs/whatsapp/${refused}/retry`, {});
  await expect
    .poll(async () => (await world.queue(`whatsapp.${id}`).getDelayed()).map(({ id: job }) => job))
    .toContain(refused);
  expect((await messageOf(service, refused)).status).toBe("queued");
  expect(sentFrom(phone).map(({ to }) => to)).toEqual([friend, friend]);
});

test("WhatsApp says until when, and later that it is over → so long, and no longer", async () => {
  const { id, phone, accountId } = await pairedAccount(world, service, fake);
  const until = new Date(Math.floor(Date.now() / 1000) * 1000 + 3_600_000);
  fake.restrict(phone, { enforcementType: "DEFAULT", until });
  await expect.poll(async () => (await sessionOf(service, id)).coldPausedUntil).not.toBeNull();
  expect(Date.parse((await sessionOf(service, id)).coldPausedUntil)).toBe(until.getTime());
  const cold = await sendText(service, accountId, person());
  await isPutOff(id, cold);
  fake.restrict(phone, undefined);
  await expect.poll(async () => (await sessionOf(service, id)).coldPausedUntil).toBeNull();
  expect(await sessionOf(service, id)).not.toHaveProperty("lastError");
  await settles(service, cold, "delivered");
});

test("a restriction outlasts a restart", async () => {
  await using own = await openWorld();
  const first = await own.start(environment());
  const { id, phone, accountId } = await pairedAccount(own, first, fake);
  fake.restrict(phone, { enforcementType: "DEFAULT", until: new Date(Date.now() + 3_600_000) });
  await expect.poll(async () => (await sessionOf(first, id)).coldPausedUntil).not.toBeNull();
  await first.stop();
  const second = await own.start(environment());
  await untilState(second, id, "open");
  const cold = await sendText(second, accountId, person());
  await expect.poll(async () => (await own.queue(`whatsapp.${id}`).getDelayed()).length).toBe(1);
  expect((await messageOf(second, cold)).status).toBe("queued");
  expect(sentFrom(phone)).toEqual([]);
});

test("in all of that nobody broke WhatsApp's protocol", () => {
  expect(fake.faults).toEqual([]);
});
