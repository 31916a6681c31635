import { rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Channel } from "../../src/client.ts";
import { CHANNELS, SENDERS } from "./bodies.ts";
import { NORMAL, VENDOR_NAMES, type Doubles } from "./doubles.ts";
import type { Random } from "./random.ts";
import type { Server, Servers } from "./servers.ts";
import { DEPENDENCIES, type Slot } from "./slot.ts";
import type { Cut } from "./tcp-proxy.ts";
import type { VendorName } from "./vendors/index.ts";
import type { Answer } from "./vendors/vendor.ts";
import type { WhatsAppDouble } from "./whatsapp.ts";
import type { SendOutcome } from "../../test/fakes/whatsapp/rules.ts";

export interface FaultContext {
  servers: Servers;
  slots: readonly Slot[];
  doubles: Doubles;
  whatsapp: WhatsAppDouble;
  random: Random;
  /** 1 in a run of ten minutes, less in a shorter one: how long an outage lasts. */
  scale: number;
  /** Ends a fault early. */
  signal: AbortSignal;
  /** For how long an attempt is its worker's, milliseconds. */
  holdMs: number;
  shutdownTimeoutMs: number;
}

/** Something that goes wrong and is put right again before `run` resolves. */
export interface Fault {
  kind: string;
  /** Whom it concerns: on one of these channels the next message has to be sent afterwards. */
  channels: readonly Channel[];
  /** Answers what there is to be said against it, as of a process that did not drain. */
  run(): Promise<string | undefined>;
}

/** Shorter ones would pass unnoticed. */
const LEAST_OUTAGE_MS = 1000;

const CARRIED: Record<VendorName, Channel> = {
  twilio: "sms",
  vonage: "sms",
  "twilio-voice": "ringless_voice",
  voicepartner: "ringless_voice",
};
const ANSWERS: Record<string, Answer> = {
  hangs: { kind: "hang" },
  "hangs after accepting": { kind: "hang", accept: true },
  resets: { kind: "reset" },
  "resets after accepting": { kind: "reset", accept: true },
  "answers 429": { kind: "error", status: 429, retryAfterS: 1 },
  // Longer than a message waits for a provider that has too much to do: the next one gets it.
  "answers 429 for long": { kind: "error", status: 429, retryAfterS: 6 },
  "answers 500": { kind: "error", status: 500 },
  "answers half a document": { kind: "malformed", accept: true },
  "is slower than the time-out": { kind: "slow", delayMs: 2500 },
};
const ACKS: Record<string, SendOutcome> = {
  "does not answer": "silent",
  "neither takes nor answers": "drop",
  "takes and disconnects": "accept-then-disconnect",
  "disconnects before it takes": "disconnect-before",
};
const CLOSINGS = [428, 440, 500, 503, 515] as const;
const CUTS: readonly Cut[] = ["refuse", "lose-answers", "black-hole"];

/** Every kind of fault once, in a random order and with random particulars. */
export function dealFaults(context: FaultContext): Fault[] {
  const { servers, slots, doubles, whatsapp, random } = context;
  const pause = async (lowMs: number, highMs: number): Promise<void> => {
    await delay(random.between(lowMs, highMs), undefined, { signal: context.signal }).catch(() => {});
  };
  const outage = (lowS: number, highS: number): Promise<void> => {
    const ms = (seconds: number): number => Math.max(LEAST_OUTAGE_MS, seconds * 1000 * context.scale);
    return pause(ms(lowS), ms(highS));
  };
  const quiet = (kind: string, run: () => Promise<void>, channels = CHANNELS): Fault => ({
    kind,
    channels,
    async run() {
      await run();
      return undefined;
    },
  });
  const away = (server: Server, how: "stop" | "kill", lowS: number, highS: number): Fault =>
    quiet(`${server.name}: ${how === "kill" ? "kill -9" : "stopped"}`, async () => {
      await server[how]();
      await outage(lowS, highS);
      await server.start();
    });

  const drain = (): Fault => ({
    kind: "service: SIGTERM",
    channels: CHANNELS,
    async run() {
      const slot = random.pick(slots.filter(({ state }) => state === "up"));
      if (!slot) return undefined;
      const { how, ms } = await slot.replace(context.shutdownTimeoutMs + 5000);
      // 1: the deadline came first, and running work was handed back.
      return /^exit code [01]$/.test(how) ? undefined : `SIGTERM: ${how} after ${Math.round(ms)} ms`;
    },
  });
  const freeze = (): Fault =>
    quiet("service: frozen past lock and hold", async () => {
      const slot = random.pick(slots.filter(({ state }) => state === "up"));
      await slot?.freeze(context.holdMs + random.between(500, 3000), context.signal);
    });
  const provider = (): Fault => {
    const first = random.pick(VENDOR_NAMES);
    // One of them, or all that carry the channel.
    const some = random.chance(0.7) ? [first] : VENDOR_NAMES.filter((name) => CARRIED[name] === CARRIED[first]);
    const [words, answer] = random.pick(Object.entries(ANSWERS));
    const behave = async (how: Answer): Promise<void> => {
      for (const name of some) await doubles[name].behave(how);
    };
    const run = async (): Promise<void> => {
      await behave(answer);
      await pause(1000, 5000);
      await behave(NORMAL);
    };
    return quiet(`provider ${words}`, run, [CARRIED[first]]);
  };
  const senders = Object.values(SENDERS);
  const onWhatsApp = (kind: string, run: () => Promise<void>): Fault =>
    quiet(`whatsapp ${kind}`, run, ["whatsapp_text"]);
  const acks = (): Fault => {
    const [words, outcome] = random.pick(Object.entries(ACKS));
    // Of one number or of all, for a few messages or for all in that time.
    const from = random.chance(0.5) ? { from: random.pick(senders) } : {};
    const times = random.chance(0.5) ? { times: random.whole(1, 5) } : {};
    return onWhatsApp(words, async () => {
      await whatsapp.behave([{ outcome, ...from, ...times }]);
      await pause(500, 4000);
      await whatsapp.behave([]);
    });
  };
  const closing = (): Fault => {
    const code = random.pick(CLOSINGS);
    const some = random.chance(0.5) ? [random.pick(senders)] : senders;
    return onWhatsApp(`disconnects: ${code}`, async () => {
      for (const phone of some) await whatsapp.disconnect(phone, code);
    });
  };
  const refusal = (): Fault => {
    const phone = random.pick(senders);
    return onWhatsApp("refuses logins", async () => {
      await whatsapp.refuse(phone, 503, 1000);
      await whatsapp.disconnect(phone, 428);
      await pause(1000, 5000);
      await whatsapp.refuse(phone, 503, 0);
    });
  };
  const unreachable = (): Fault => {
    const how = random.pick([503, "reset"] as const);
    return onWhatsApp(`refuses connections: ${how}`, async () => {
      await whatsapp.outage(how);
      for (const phone of senders) await whatsapp.disconnect(phone, 428);
      await pause(1000, 5000);
      await whatsapp.outage(null);
    });
  };
  const cut = (): Fault => {
    const kind = random.pick(CUTS);
    const dependency = random.pick(DEPENDENCIES);
    // Of one process, or of both at once.
    const some = random.chance(0.5) ? [random.pick(slots)] : slots;
    const proxies = some.map((slot) => slot.proxies[dependency]);
    const run = async (): Promise<void> => {
      await Promise.all(proxies.map((proxy) => proxy.cut(kind)));
      // Longer than providers are given before they are asked what became of an attempt: it may arrive after that.
      await pause(500, kind === "black-hole" ? 13_000 : 6000);
      await Promise.all(proxies.map((proxy) => proxy.mend()));
    };
    return quiet(`network: ${kind}, ${dependency}`, run);
  };
  const emptied = (): Fault =>
    quiet("redis: killed and emptied", async () => {
      await servers.redis.kill();
      await servers.redis.stop();
      rmSync(join(servers.dataDir, "redis"), { recursive: true, force: true });
      await servers.redis.start();
    });

  return random.shuffled([
    away(servers.redis, "kill", 0, 1),
    away(servers.redis, "kill", 1, 5),
    away(servers.redis, "stop", 20, 60),
    emptied(),
    away(servers.postgres, "stop", 5, 20),
    away(servers.postgres, "kill", 1, 10),
    away(servers.postgrest, "kill", 2, 15),
    away(servers.postgrest, "stop", 2, 15),
    drain(),
    drain(),
    freeze(),
    freeze(),
    ...Array.from({ length: 8 }, provider),
    ...Array.from({ length: 9 }, cut),
    ...Array.from({ length: 3 }, acks),
    ...Array.from({ length: 3 }, closing),
    refusal(),
    unreachable(),
  ]);
}
