import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, test } from "vitest";
import type { OpenAttempt } from "../../src/channels/channel.ts";
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
  const attempt: OpenAttempt = {
    attemptId: randomUUID(),
    messageId: randomUUID(),
    accountId,
    channel: "whatsapp_text",
    lane,
    attemptNumber: 1,
    to,
    from,
    content: { text: "Bonjour" },
    startedAt: Date.now(),
  };
  const { provider } = baileys;
  await expect(provider.send(attempt, new AbortController().signal)).rejects.toMatchObject({ delivery: "unknown" });
  await expect(provider.reconcile?.(attempt)).rejects.toMatchObject({ code: "not_asked", delivery: "unknown" });
  expect(await provider.reconcile?.(attempt)).toMatchObject({ result: "accepted" });
  expect(fake.messages.filter((message) => message.to === to)).toMatchObject([{ relays: 1 }]);
});

test.concurrent("Redis is away when a session is to go → unlinked and its keys wiped at once, its lane removed when Redis is back", async ({
  expect,
}) => {
  const { from, lane } = await baileys.connected();
  await baileys.sessions.dismiss(sessionOf(lane));
  baileys.provider.nudge?.();
  // The lease is kept until then, and runs out.
  await expect.poll(() => removals).toEqual([1, 2].map((epoch) => ({ lane, keys: 0, epoch })));
  await expect.poll(() => baileys.sessions.session(sessionOf(lane))).toBeUndefined();
  expect(fake.paired(from)).toBe(false);
});
