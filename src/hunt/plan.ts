import { hash } from "node:crypto";
import type { Channel } from "../channels/channel.ts";
import type { CountryCode } from "libphonenumber-js";
import { parsePhone, senderOf } from "../core/phone.ts";
import type { Rules, Ruling } from "../core/rules.ts";
import type { Chunk, PlannedMessage } from "../store/store.ts";
import type { Contact } from "./contacts.ts";
import type { HuntContent } from "./content.ts";
import { createWording, type Wording, type Words } from "./wording.ts";

/** Contacts a plan job. */
export const CHUNK_SIZE = 500;

const MISSING = "missing_variable";

/** The channels as planning sees them: whether somebody carries them now, and whether whoever gets a message can answer. */
export type PlanChannels = ReadonlyMap<string, { channel: Channel; on: boolean; oneWay?: boolean }>;

/** Over which channels the people of a chunk are on their way, by number. */
export type Ways = Map<string, readonly string[]>;

/** Contacts → ledger rows. Pure, and the same input gives the same ids, so a plan job may run again. */
export function planChunk(
  chunk: Chunk,
  contacts: readonly Contact[],
  channels: PlanChannels,
  rules?: Rules,
  ways: Ways = new Map(),
): PlannedMessage[] {
  const content = chunk.content as HuntContent | null | undefined;
  const wording = createWording(chunk.huntId, content ?? undefined);
  const afterSeconds = content?.fallbackAfterSeconds;
  const terms: Terms = { chunk, channels, rules, wording };
  return contacts.map((contact) => {
    const { channel, next = [], senderPhone } = contact;
    const all = [channel, ...next];
    const planned = all.map((name) =>
      // The sender of one channel is none of another.
      plan({ ...contact, channel: name, senderPhone: name === channel ? senderPhone : undefined }, terms),
    );
    const siblings = planned.length > 1 ? { siblings: planned.map(({ id }) => id), channels: all } : {};
    // What cannot be said to somebody is not tried elsewhere: whoever lacks a variable is skipped.
    const first = planned.find(({ skip }) => skip === undefined || skip === MISSING);
    // When it can be sent over none, the first says why.
    if (first === undefined || first.skip !== undefined) return { ...(first ?? planned[0]!), ...siblings };
    const message = planned
      .filter(({ skip }) => skip === undefined)
      .reduceRight((further, each) => ({
        ...each,
        // Caps are counted when its turn comes: right before it is sent.
        next: { ...further, caps: undefined, afterSeconds },
      }));
    if (isOnTheWay(ways, message.recipient, all)) {
      return { ...planned[0]!, skip: "duplicate", detail: ON_THE_WAY, ...siblings };
    }
    return { ...message, ...siblings };
  });
}

const ON_THE_WAY = "The hunt contacts this number over these channels already.";

/** Whether somebody of several channels has one of them already by this number; from now on they have all of them. */
function isOnTheWay(ways: Ways, recipient: string, channels: readonly string[]): boolean {
  const taken = ways.get(recipient);
  const isTaken = channels.length > 1 && channels.some((name) => taken?.includes(name));
  if (!isTaken) ways.set(recipient, taken ? [...taken, ...channels] : channels);
  return isTaken;
}

interface Terms {
  chunk: Chunk;
  channels: PlanChannels;
  rules: Rules | undefined;
  wording: Wording;
}

function plan(contact: Contact, { chunk, channels, rules, wording }: Terms): PlannedMessage {
  const known = channels.get(contact.channel);
  const country = chunk.defaultCountry as CountryCode;
  const phone = parsePhone(contact.recipientPhone, country);
  const sender = contact.senderPhone === undefined ? undefined : senderOf(contact.senderPhone, country);
  const ruling =
    known && phone.ok
      ? rules?.({
          policy: chunk.policy,
          consent: contact.consent === true || chunk.consentDeclared === true,
          recipient: phone.e164,
          kind: known.channel.queue,
        })
      : undefined;
  const words: Words = known ? wording(contact, known.channel) : { message: contact.message, variant: undefined };
  const content = known?.channel.contentOf(
    { ...contact, message: words.message },
    {
      country: phone.ok ? phone.country : undefined,
      sender,
      oneWay: known.oneWay === true,
      stopNotice: ruling?.stopNotice,
    },
  );
  return {
    id: messageId(chunk.huntId, contact),
    accountId: chunk.accountId,
    huntId: chunk.huntId,
    adId: contact.adId,
    copy: contact.copy ?? 0,
    channel: contact.channel,
    queue: known?.channel.queue ?? contact.channel,
    recipient: phone.ok ? phone.e164 : contact.recipientPhone,
    sender,
    content: content && "content" in content ? content.content : { text: contact.message ?? "" },
    expiresAt: chunk.expiresAt,
    ...skipOf(contact, phone, known?.on ? content : undefined, words, ruling),
    ...(rules ? { category: "marketing" } : {}),
    ...(ruling ? { caps: ruling.caps } : {}),
    ...(words.variant === undefined ? {} : { variant: words.variant }),
  };
}

function skipOf(
  contact: Contact,
  phone: ReturnType<typeof parsePhone>,
  content: ReturnType<Channel["contentOf"]> | undefined,
  words: Words,
  ruling: Ruling | undefined,
): { skip: string | undefined; detail: string | undefined } {
  if (contact.copy) return { skip: "duplicate", detail: "The hunt has this adId on this channel already." };
  if (contact.erased) return { skip: "suppressed", detail: undefined };
  if (!phone.ok) return { skip: phone.reason, detail: phone.detail };
  if (!content) return { skip: "channel_off", detail: `${contact.channel} has no provider now.` };
  if (words.skip) return words.skip;
  if ("faults" in content) return { skip: "invalid_content", detail: content.faults[0]?.detail };
  if (ruling?.skip) return { skip: ruling.skip.code, detail: ruling.skip.detail };
  return { skip: undefined, detail: undefined };
}

/** The message's id follows from the contact, so planning it twice cannot make two of it. In the form of a UUID (v8). */
export function messageId(huntId: string, { adId, channel, copy = 0 }: Contact): string {
  const digest = hash("sha256", JSON.stringify([huntId, adId, channel, copy]), "hex");
  return `${digest.slice(0, 8)}-${digest.slice(8, 12)}-8${digest.slice(13, 16)}-a${digest.slice(17, 20)}-${digest.slice(20, 32)}`;
}
