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

const MAX_HUNT = 400;
const TEXT = "Bonjour, votre annonce est-elle toujours disponible ?";

export interface Single {
  channel: Channel;
  accountId: string;
  recipientPhone: string;
}

/** Makes requests in which every person has a number of their own, so that a provider's log can be counted by number. */
export function createBodies(random: Random) {
  let people = 0;
  let hunts = 0;
  const busy = Object.entries(BUSY).flatMap(([id, share]) => Array.from({ length: share }, () => id));
  const account = (): string => random.pick(busy);
  return {
    /** Mostly small, sometimes big; now and then with a number that cannot be dialled or a contact given twice. */
    hunt(): NewHunt {
      const size = Math.max(1, Math.round(MAX_HUNT ** (random.unit() ** 1.5)));
      const accountId = account();
      const channels = channelsOf(accountId);
      const contacts = Array.from({ length: size }, (_, i) => ({
        adId: `ad_${i}`,
        recipientPhone: random.chance(0.005) ? "12345" : phoneOf(people++),
        channel: random.pick(channels),
        message: TEXT,
      }));
      const [first] = contacts;
      if (first && random.chance(0.1)) contacts.push({ ...first });
      const priority = random.pick(["high", "normal", "normal", "low"] as const);
      return { huntId: `hunt_${hunts++}`, accountId, priority, contacts };
    },
    single(): Single {
      const accountId = account();
      return { channel: random.pick(channelsOf(accountId)), accountId, recipientPhone: phoneOf(people++) };
    },
    text: TEXT,
  };
}
