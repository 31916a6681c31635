import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { DisconnectCode } from "../fakes/whatsapp/disconnects.ts";
import { startFakeWhatsApp, type FakeWhatsApp } from "../fakes/whatsapp/server.ts";
import { messageOf, phone as recipient, settles } from "../helpers/hunts.ts";
import { openWorld, type TestService, type World } from "../helpers/service.ts";
import {
  endingsOf,
  keysOf,
  openFakeWhatsApp,
  pair,
  pairedAccount,
  sendText,
  sessionOf,
  untilState,
  whatsappEnvironment,
} from "../helpers/whatsapp.ts";

let world: World;
let fake: FakeWhatsApp;
let service: TestService;

beforeAll(async () => {
  fake = await openFakeWhatsApp();
  world = await openWorld();
  service = await world.start(whatsappEnvironment(fake));
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await fake.stop();
});

/** Waits until a number has logged in once more than `before` and is shown as open. */
async function backAgain(id: string, phone: string, before: number): Promise<void> {
  await fake.waitFor(() => fake.logins(phone) === before + 1);
  await untilState(service, id, "open");
}

const PAIRED = { code: 515, reaction: "reconnect" };

test("515 → connects again at once", async () => {
  const { id, phone } = await pairedAccount(world, service, fake);
  const before = fake.logins(phone);
  fake.disconnect(phone, 515);
  await backAgain(id, phone, before);
  expect(endingsOf(service, id)).toEqual([PAIRED, { code: 515, reaction: "reconnect" }]);
});

test.for([428, 500, 503] as DisconnectCode[])(
  "%i → waits about a second, keeps its keys, and a message that came meanwhile is sent",
  async (code) => {
    const { id, phone, accountId } = await pairedAccount(world, service, fake);
    const before = fake.logins(phone);
    fake.disconnect(phone, code);
    await expect.poll(async () => (await sessionOf(service, id)).state).toBe("backing-off");
    expect((await sessionOf(service, id)).lastError).toContain(`(${code})`);
    const messageId = await sendText(service, accountId, recipient(code));
    await backAgain(id, phone, before);
    expect(await sessionOf(service, id)).not.toHaveProperty("lastError");
    await settles(service, messageId, "delivered");
    const [, ending] = endingsOf(service, id);
    expect(ending).toMatchObject({ code, reaction: "back-off" });
    expect(ending?.waitMs).toBeGreaterThanOrEqual(500);
    expect(ending?.waitMs).toBeLessThanOrEqual(1000);
  },
);

test.concurrent.for([
  { how: "a connection that breaks at once (408)", outage: "reset" as const, code: 408 },
  { how: "HTTP 503 at the upgrade", outage: 503, code: 503 },
  { how: "HTTP 401 at the upgrade, by a proxy", outage: 401, code: 503 },
])("$how → longer and longer waits, the keys stay, open when it is over", async ({ outage, code }) => {
  await using other = await startFakeWhatsApp();
  await using own = await openWorld();
  const there = await own.start(whatsappEnvironment(other));
  const { id, phone } = await pairedAccount(own, there, other);
  other.outage(outage);
  other.disconnect(phone, 428);
  // Not `expect.poll`, which loses its test among concurrent ones.
  await vi.waitFor(() => expect(endingsOf(there, id)).toHaveLength(3), { timeout: 15_000 });
  const [, first, second] = endingsOf(there, id);
  expect(first).toMatchObject({ code: 428, reaction: "back-off" });
  expect(second).toMatchObject({ code, reaction: "back-off" });
  expect(second?.waitMs).toBeGreaterThanOrEqual(1000);
  await vi.waitFor(async () => expect((await sessionOf(there, id)).lastError).toContain(`(${code})`));
  expect((await keysOf(own, id)).length).toBeGreaterThan(800);
  other.outage(undefined);
  await untilState(there, id, "open");
  expect(other.logins(phone)).toBe(2);
});

test("440, replaced by another client → back again; at the fifth time in half a minute it waits for 30 s", async () => {
  const { id, phone } = await pairedAccount(world, service, fake);
  for (let n = 1; n <= 5; n++) {
    const before = fake.logins(phone);
    fake.disconnect(phone, 440);
    if (n < 5) await backAgain(id, phone, before);
  }
  await expect.poll(() => endingsOf(service, id).length).toBe(6);
  const waits = endingsOf(service, id).slice(1);
  for (const ending of waits) expect(ending).toMatchObject({ code: 440, reaction: "back-off" });
  expect(waits.slice(0, 4).every(({ waitMs = 0 }) => waitMs <= 1000)).toBe(true);
  expect(waits[4]?.waitMs).toBe(30_000);
  await expect.poll(async () => (await sessionOf(service, id)).state).toBe("backing-off");
  expect((await sessionOf(service, id)).lastError).toContain("(440)");
});

test.for([
  { code: 401, state: "logged-out", words: "The phone has unlinked this device. Pair it again.", wiped: true },
  { code: 411, state: "logged-out", words: "does not accept this pairing", wiped: true },
  { code: 402, state: "banned", words: "WhatsApp has blocked this number (402)", wiped: false },
  { code: 403, state: "banned", words: "WhatsApp has blocked this number (403)", wiped: false },
  { code: 406, state: "banned", words: "WhatsApp has blocked this number (406)", wiped: false },
])(
  "$code → $state, an alert, its messages wait; paired again → they are sent",
  async ({ code, state, words, wiped }) => {
    const { id, phone, accountId } = await pairedAccount(world, service, fake);
    fake.disconnect(phone, code as DisconnectCode);
    const ended = await untilState(service, id, state);
    expect(ended.lastError).toContain(words);
    expect((await keysOf(world, id)).length > 0).toBe(!wiped);
    expect(service.logs).toContainEqual(
      expect.objectContaining({ level: 50, msg: "a WhatsApp session needs a person", sessionId: id, code, state }),
    );
    const logins = fake.logins(phone);
    const messageId = await sendText(service, accountId, recipient(code + 1000));
    await expect.poll(async () => (await world.queue(`whatsapp.${id}`).getJobCounts("waiting"))["waiting"]).toBe(1);
    expect((await messageOf(service, messageId)).status).toBe("queued");
    expect(fake.logins(phone)).toBe(logins);
    expect(await pair(service, fake, accountId, phone)).toMatchObject({ id });
    await settles(service, messageId, "delivered");
    expect(await sessionOf(service, id)).not.toHaveProperty("lastError");
  },
);

/** The page that names WhatsApp Web's current version. */
function currentVersion(answer: () => Response | Promise<Response>) {
  const real = globalThis.fetch;
  return vi.spyOn(globalThis, "fetch").mockImplementation((input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    return url.startsWith("https://web.whatsapp.com/") ? Promise.resolve(answer()) : real(input, init);
  });
}

test("405, the client is too old → asks for the current version and connects with it", async () => {
  using asked = currentVersion(() => new Response('{"client_revision":1099999999}'));
  const { id, phone } = await pairedAccount(world, service, fake);
  const before = fake.logins(phone);
  fake.requireVersion([2, 3000, 1_099_999_999]);
  try {
    fake.disconnect(phone, 428);
    await backAgain(id, phone, before);
  } finally {
    fake.requireVersion(undefined);
  }
  expect(endingsOf(service, id).map(({ code, reaction }) => `${code} ${reaction}`)).toEqual([
    "515 reconnect",
    "428 back-off",
    "405 refresh-version",
  ]);
  expect(asked).toHaveBeenCalledWith("https://web.whatsapp.com/sw.js", expect.anything());
});

test("405 again after the refresh, or no version to be had → stopped, and says what to set", async () => {
  using asked = currentVersion(() => new Response("", { status: 503 }));
  const { id, phone } = await pairedAccount(world, service, fake);
  const before = asked.mock.calls.filter(([url]) => url === "https://web.whatsapp.com/sw.js").length;
  fake.refuseLogin(phone, 405, 2);
  fake.disconnect(phone, 428);
  const stopped = await untilState(service, id, "stopped");
  expect(stopped.lastError).toBe("WhatsApp refuses this version of the client (405). Set WHATSAPP_VERSION.");
  expect(asked.mock.calls.filter(([url]) => url === "https://web.whatsapp.com/sw.js")).toHaveLength(before + 1);
  expect((await keysOf(world, id)).length).toBeGreaterThan(800);
});

test("in all of that nobody broke WhatsApp's protocol", () => {
  expect(fake.faults).toEqual([]);
});
