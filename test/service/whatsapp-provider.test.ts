import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, test } from "vitest";
import type { OpenAttempt } from "../../src/channels/provider.ts";
import { whatsappIdOf } from "../../src/channels/whatsapp/providers/baileys/message-id.ts";
import { UnavailableError } from "../../src/core/errors.ts";
import { baileysAt } from "../contract/baileys-under-test.ts";
import type { FakeWhatsApp } from "../fakes/whatsapp/server.ts";
import { phone } from "../helpers/hunts.ts";
import { openWorld, type World } from "../helpers/service.ts";
import { keysOf, openFakeWhatsApp } from "../helpers/whatsapp.ts";

let world: World;
let fake: FakeWhatsApp;
let baileys: Awaited<ReturnType<typeof baileysAt>>;
/** Redis is away for the first. */
const removals: { lane: string; keys: number; epoch: number | undefined }[] = [];

const sessionOf = (lane: string): string => lane.replace("whatsapp.", "");

const attemptTo = (to: string, of: Pick<OpenAttempt, "accountId" | "from" | "lane">): OpenAttempt => ({
  attemptId: randomUUID(),
  messageId: randomUUID(),
  channel: "whatsapp_text",
  attemptNumber: 1,
  to,
  content: { text: "Bonjour" },
  startedAt: Date.now(),
  ...of,
});

beforeAll(async () => {
  fake = await openFakeWhatsApp();
  fake.autoReceipts({ kind: "none" });
  world = await openWorld();
  baileys = await baileysAt(fake, world, {
    environment: { WHATSAPP_LEASE_MS: "2000" },
    async remove(lane) {
      const [keys, session] = [await keysOf(world, sessionOf(lane)), await baileys.sessions.session(sessionOf(lane))];
      removals.push({ lane, keys: keys.length, epoch: session?.epoch });
      if (removals.length === 1) throw new UnavailableError("redis", "Redis is away.");
    },
  });
});
afterAll(async () => {
  await baileys[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
  await fake.stop();
});

test.concurrent("a message that is given to WhatsApp again, which then asks to slow down → asked once more later, and there once", async ({
  expect,
}) => {
  const { accountId, from, lane } = await baileys.connected();
  const to = phone(8900);
  for (const outcome of ["drop", { error: 429 }] as const) fake.onSend({ to, times: 1, outcome });
  const attempt = attemptTo(to, { accountId, from, lane });
  const { provider } = baileys;
  await expect(provider.send(attempt, new AbortController().signal)).rejects.toMatchObject({ delivery: "unknown" });
  await expect(provider.reconcile?.(attempt)).rejects.toMatchObject({ code: "not_asked", delivery: "unknown" });
  expect(await provider.reconcile?.(attempt)).toMatchObject({ result: "accepted" });
  expect(fake.messages.filter((message) => message.to === to)).toMatchObject([{ relays: 1 }]);
});

test.concurrent("Redis is away when a session is to go → unlinked and its keys wiped at once, its lane removed when Redis is back, and what it left in doubt stays so", async ({
  expect,
}) => {
  const { accountId, from, lane } = await baileys.connected();
  const { provider } = baileys;
  const to = phone(8901);
  fake.onSend({ to, times: 1, outcome: "silent" });
  const doubtful = attemptTo(to, { accountId, from, lane });
  await expect(provider.send(doubtful, new AbortController().signal)).rejects.toMatchObject({ delivery: "unknown" });
  await baileys.sessions.dismiss(sessionOf(lane));
  baileys.provider.nudge?.();
  // The lease is kept until then, and runs out.
  const removed = { lane, keys: 0, epoch: expect.any(Number) };
  await expect.poll(() => removals).toEqual([removed, removed]);
  expect(removals[1]?.epoch).toBe((removals[0]?.epoch ?? NaN) + 1);
  await expect.poll(() => baileys.sessions.session(sessionOf(lane))).toBeUndefined();
  expect(fake.paired(from)).toBe(false);

  // Of what it left in doubt only the id is there: neither sent again, nor from another number of the account.
  const next = await baileys.connected(accountId);
  for (const attempt of [doubtful, { ...doubtful, lane: undefined }, { ...doubtful, ...next }]) {
    expect(await provider.reconcile?.(attempt)).toMatchObject({ result: "inconclusive" });
  }
  expect(fake.messages.filter((message) => message.to === to)).toMatchObject([{ from, relays: 1 }]);
  expect(await provider.reconcile?.({ ...doubtful, messageId: randomUUID() })).toEqual({ result: "not_accepted" });
  await world.sql.query(
    "insert into pending_receipts (provider, provider_message_id, status, at) values ('baileys', $1, 'delivered', now())",
    [whatsappIdOf(doubtful.messageId)],
  );
  expect(await provider.reconcile?.(doubtful)).toMatchObject({ result: "accepted" });
});
