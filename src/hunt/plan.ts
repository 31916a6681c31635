import { createHash } from "node:crypto";
import type { Channel } from "../channels/channel.ts";
import type { CountryCode } from "libphonenumber-js";
import { parsePhone } from "../core/phone.ts";
import type { Rules, Ruling } from "../core/rules.ts";
import type { Chunk, PlannedMessage } from "../store/store.ts";
import type { Contact } from "./contacts.ts";

/** Contacts a plan job. */
export const CHUNK_SIZE = 500;

/** BullMQ's greatest priority number, i.e. the last to run. */
const LAST_PRIORITY = 2_097_151;
const PRIORITY_STEP = { high: 0.25, normal: 1, low: 4 } as const;

/** The channels as planning sees them: whether somebody carries them now. */
export type PlanChannels = ReadonlyMap<string, { channel: Channel; on: boolean }>;

/**
 * Contacts → ledger rows. Pure, and the same input gives the same ids, so a plan job may run again.
 *
 * A message's priority grows with its place in the hunt, so that hunts take turns: the first messages of a small one
 * go before the later ones of a big one, and single sends (priority 0) before all.
 */
export function planChunk(
  chunk: Chunk,
  no: number,
  contacts: readonly Contact[],
  channels: PlanChannels,
  rules?: Rules,
): PlannedMessage[] {
  return contacts.map((contact, i) => {
    const [first = contact.channel, ...next] = reachable(contact, channels);
    return plan(chunk, { ...contact, channel: first, next }, no * CHUNK_SIZE + i, channels, rules);
  });
}

/** Its channels that somebody carries now; when none is, the first, to be skipped. */
function reachable({ channel, next = [] }: Contact, channels: PlanChannels): string[] {
  if (next.length === 0) return [channel];
  const on = [channel, ...next].filter((name) => channels.get(name)?.on);
  return on.length > 0 ? on : [channel];
}

function plan(
  chunk: Chunk,
  contact: Contact,
  place: number,
  channels: PlanChannels,
  rules: Rules | undefined,
): PlannedMessage {
  const known = channels.get(contact.channel);
  const content = known?.channel.contentOf(contact);
  const phone = parsePhone(contact.recipientPhone, chunk.defaultCountry as CountryCode);
  const [second, ...further] = contact.next ?? [];
  const ruling =
    known && phone.ok
      ? rules?.({
          policy: chunk.policy,
          consent: contact.consent === true || chunk.consentDeclared === true,
          recipient: phone.e164,
          kind: known.channel.queue,
        })
      : undefined;
  return {
    id: messageId(chunk.huntId, contact),
    accountId: chunk.accountId,
    huntId: chunk.huntId,
    adId: contact.adId,
    copy: contact.copy ?? 0,
    channel: contact.channel,
    queue: known?.channel.queue ?? contact.channel,
    recipient: phone.ok ? phone.e164 : contact.recipientPhone,
    sender: contact.senderPhone,
    content: content && "content" in content ? content.content : { text: contact.message ?? "" },
    priority: Math.min(LAST_PRIORITY, 1 + Math.floor(place * PRIORITY_STEP[chunk.priority])),
    expiresAt: chunk.expiresAt,
    ...skipOf(contact, phone, known?.on === true && content !== undefined && "content" in content, ruling),
    ...(rules ? { category: "marketing" } : {}),
    ...(ruling ? { caps: ruling.caps } : {}),
    ...(second === undefined
      ? {}
      : {
          // The sender of one channel is none of another.
          next: {
            ...plan(
              chunk,
              { ...contact, channel: second, next: further, senderPhone: undefined },
              place,
              channels,
              rules,
            ),
            // Counted when its turn comes: right before it is sent.
            caps: undefined,
          },
        }),
  };
}

function skipOf(
  contact: Contact,
  phone: ReturnType<typeof parsePhone>,
  sendable: boolean,
  ruling: Ruling | undefined,
): { skip: string | undefined; detail: string | undefined } {
  if (contact.copy) return { skip: "duplicate", detail: "The hunt has this adId on this channel already." };
  if (contact.erased) return { skip: "suppressed", detail: undefined };
  if (!phone.ok) return { skip: phone.reason, detail: phone.detail };
  if (!sendable) return { skip: "channel_off", detail: `${contact.channel} has no provider now.` };
  if (ruling?.skip) return { skip: ruling.skip.code, detail: ruling.skip.detail };
  return { skip: undefined, detail: undefined };
}

/** The message's id follows from the contact, so planning it twice cannot make two of it. In the form of a UUID (v8). */
export function messageId(huntId: string, { adId, channel, copy = 0 }: Contact): string {
  const hash = createHash("sha256")
    .update(JSON.stringify([huntId, adId, channel, copy]))
    .digest("hex");
  return `${hash.slice(0, 8)}-${hash.slice(8, 12)}-8${hash.slice(13, 16)}-a${hash.slice(17, 20)}-${hash.slice(20, 32)}`;
}
