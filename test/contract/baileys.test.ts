import { afterAll, beforeAll } from "vitest";
import type { SendRule } from "../fakes/whatsapp/rules.ts";
import type { FakeWhatsApp } from "../fakes/whatsapp/server.ts";
import { phone } from "../helpers/hunts.ts";
import { openWorld, type World } from "../helpers/service.ts";
import { openFakeWhatsApp } from "../helpers/whatsapp.ts";
import { baileysAt, type Connected } from "./baileys-under-test.ts";
import { describeProvider, type ProviderUnderTest, type Situation } from "./provider-contract.ts";

/** What the server does with the message. */
const RULES = {
  accepts: { outcome: "ack" },
  refuses_for_good: { outcome: { error: 479 } },
  limits_rate: { outcome: { error: 429 } },
  never_answers: { outcome: "silent" },
  times_out_unresolvably: { outcome: "drop" },
  breaks_off_after_accepting: { outcome: "accept-then-disconnect", times: 1 },
  times_out_after_accepting: { outcome: "silent", times: 1 },
} satisfies Partial<Record<Situation, SendRule>>;

let world: World;
let fake: FakeWhatsApp;
let baileys: Awaited<ReturnType<typeof baileysAt>>;
/** For what leaves a connection as it was; each other situation is brought about on a session of its own. */
let shared: Connected;
const SPOILS = new Set<Situation>(["fails_before_accepting", "is_unreachable", "breaks_off_after_accepting"]);

beforeAll(async () => {
  fake = await openFakeWhatsApp();
  fake.autoReceipts({ kind: "none" });
  world = await openWorld();
  baileys = await baileysAt(fake, world);
  shared = await baileys.connected();
});
afterAll(async () => {
  await baileys[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
  await fake.stop();
});

let last = 8000;

async function startBaileys(wanted: Situation): Promise<ProviderUnderTest> {
  const { creds, ...sender } = SPOILS.has(wanted) ? await baileys.connected() : shared;
  const { noiseKey, signedIdentityKey, advSecretKey } = JSON.parse(creds);
  return {
    provider: baileys.provider,
    attempt: { channel: "whatsapp_text", ...sender },
    async recipientFor(situation) {
      const to = phone((last += 1));
      if (situation === "is_unreachable") {
        fake.outage(503);
        fake.disconnect(sender.from, 428);
        await fake.waitFor(() => fake.connected(sender.from) === 0);
      } else if (situation === "fails_before_accepting") {
        // Before a first message WhatsApp is asked whether the number is there.
        fake.refuseQueries(sender.from, "usync", 500);
      } else fake.onSend({ ...RULES[situation], to });
      return to;
    },
    acceptedFor: (to) => fake.messages.filter((message) => message.to === to).length,
    secrets: [
      sender.from,
      sender.from.slice(1),
      advSecretKey,
      ...[noiseKey, signedIdentityKey].map((key) => key.private.data),
    ],
    async [Symbol.asyncDispose]() {
      fake.outage(undefined);
    },
  };
}

describeProvider(
  "Baileys",
  ["fails_before_accepting", "is_unreachable", ...(Object.keys(RULES) as Situation[])],
  startBaileys,
  { lanes: true },
);
