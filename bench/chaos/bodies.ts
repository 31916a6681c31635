import type { Channel, NewHunt } from "../../src/client.ts";
import { phoneOf } from "../hunts.ts";
import type { Random } from "./random.ts";

/** Who hunts, and what each may spend: undefined is not metered. The short one runs out on purpose. */
export const ACCOUNTS: Record<string, number | undefined> = {
  acc_free: undefined,
  acc_other: undefined,
  acc_metered: 1_000_000,
  acc_rich: 5_000_000,
  acc_short: 150,
};
/** How often each submits, out of the sum. */
const BUSY: Record<string, number> = { acc_free: 2, acc_other: 1, acc_metered: 3, acc_rich: 3, acc_short: 1 };
export const CHANNELS: readonly Channel[] = ["sms", "whatsapp_text", "ringless_voice"];
/** The WhatsApp number of each account; one has none, and does not ask for it. */
export const SENDERS: Record<string, string> = {
  acc_free: "+33700000001",
  acc_metered: "+33700000002",
  acc_rich: "+33700000003",
  acc_short: "+33700000004",
};
const channelsOf = (accountId: string): readonly Channel[] =>
  CHANNELS.filter((channel) => channel !== "whatsapp_text" || SENDERS[accountId] !== undefined);

/** Of those who are reached by phone alone, and have another order of providers. */
const SHARE_ABROAD: Partial<Record<Channel, number>> = { sms: 0.3, ringless_voice: 0.1 };
const SHARE_OF_RECORDINGS = 0.5;
const MAX_HUNT = 400;
export const TEXT = "Bonjour, votre annonce est-elle toujours disponible ?";

export interface Single {
  channel: Channel;
  accountId: string;
  recipientPhone: string;
  /** A recording in place of the text. */
  audioUrl?: string;
}

/** Makes requests in which every person has a number of their own, so that a provider's log can be counted by number. */
export function createBodies(random: Random, audioUrl: string) {
  let people = 0;
  let hunts = 0;
  const busy = Object.entries(BUSY).flatMap(([id, share]) => Array.from({ length: share }, () => id));
  const account = (): string => random.pick(busy);
  /** Over which channel, where they live, and what is played to them. */
  const person = (channel: Channel): { recipientPhone: string; audioUrl?: string } => {
    const recorded = channel === "ringless_voice" && random.chance(SHARE_OF_RECORDINGS);
    const abroad = random.chance(SHARE_ABROAD[channel] ?? 0);
    const recipientPhone = abroad ? belgianPhoneOf(people++) : phoneOf(people++);
    return { recipientPhone, ...(recorded ? { audioUrl } : {}) };
  };
  return {
    /** Mostly small, sometimes big; now and then with a number that cannot be dialled or a contact given twice. */
    hunt(): NewHunt {
      const size = Math.max(1, Math.round(MAX_HUNT ** (random.unit() ** 1.5)));
      const accountId = account();
      const channels = channelsOf(accountId);
      const contacts = Array.from({ length: size }, (_, i) => {
        const channel = random.pick(channels);
        const wrong = random.chance(0.005) ? { recipientPhone: "12345" } : {};
        return { adId: `ad_${i}`, channel, message: TEXT, ...person(channel), ...wrong };
      });
      const [first] = contacts;
      if (first && random.chance(0.1)) contacts.push({ ...first });
      const priority = random.pick(["high", "normal", "normal", "low"] as const);
      return { huntId: `hunt_${hunts++}`, accountId, priority, contacts };
    },
    single(): Single {
      const accountId = account();
      const channel = random.pick(channelsOf(accountId));
      return { channel, accountId, ...person(channel) };
    },
  };
}

const belgianPhoneOf = (index: number): string => `+3247${1_000_000 + index}`;
