import type { Channel, ContentInput } from "../channels/channel.ts";
import { pointerOf, UNKNOWN_FIELD } from "../core/faults.ts";
import type { Fault } from "../core/problem.ts";
import { UNSTORABLE, unstorable } from "../core/text.ts";
import type { Variables } from "../templates/template.ts";
import { CONTACT_FIELDS, MAX_CHANNELS } from "./contact.schema.ts";
import type { ReadSendAt } from "./timing.ts";
import { readVariables } from "./variables.ts";

/**
 * A contact as it was accepted: checked for structure, not yet for whether it can be dialled. Beside these fields it has
 * its channel's own, as the channel found them right.
 */
export interface Contact extends ContentInput {
  adId: string;
  recipientPhone: string;
  channel: string;
  /** Further channels, in order: each is for who was not reached over the one before. */
  next?: string[];
  message?: string | undefined;
  /** For the hunt's templates. */
  variables?: Variables | undefined;
  senderPhone?: string | undefined;
  audioUrl?: string | undefined;
  /** The person has agreed to be contacted. */
  consent?: boolean | undefined;
  /** Not before it, ISO 8601 in UTC. */
  sendAt?: string | undefined;
  /** The person was erased while this waited to be planned: nothing else of it is left. */
  erased?: boolean | undefined;
  /** 1, 2, … where the same submission gave the same adId and channel before. */
  copy?: number;
}

/** Looks a channel up by its name: the hunt room's only view of the channels. */
export type ChannelDirectory = ReadonlyMap<string, Channel>;

/** Of one object: a body of nothing but these is not answered with a much bigger one. */
const MAX_UNKNOWN = 20;

/** Any text: what a template will say is seen when it is planned. */
const PLACEHOLDER = "x";

/** Contacts checked between two turns of the event loop. */
const SLICE = 2000;

/** What a contact is read against, beside the channels. */
export interface ContactTerms {
  /** Whether the hunt's templates speak for whoever has no message, over this channel. */
  covered?: (channel: Channel) => boolean;
  readSendAt?: ReadSendAt;
}

/** Each field of an object that is none of those known: misspelt, it would be left out without a word. */
export function unknownFields(given: unknown, known: ReadonlySet<string>, at = ""): Fault[] {
  if (typeof given !== "object" || given === null || Array.isArray(given)) return [];
  const unknown = Object.keys(given).filter((name) => !known.has(name));
  return unknown.slice(0, MAX_UNKNOWN).map((name) => ({ pointer: pointerOf([name], at), detail: UNKNOWN_FIELD }));
}

/** The contacts, with repeated ones numbered; every structural fault of every one goes to `faults`, by JSON pointer. */
export async function readContacts(
  raw: readonly unknown[],
  channels: ChannelDirectory,
  faults: Fault[],
  terms: ContactTerms = {},
): Promise<Contact[]> {
  const contacts: Contact[] = [];
  const copyOf = copyCounter();
  for (let i = 0; i < raw.length; i++) {
    if (i > 0 && i % SLICE === 0) await new Promise((resolve) => setImmediate(resolve));
    const contact = readContact(raw[i], `/contacts/${i}`, channels, faults, terms);
    if (!contact) continue;
    contacts.push(copyOf(contact));
  }
  return contacts;
}

/** Numbers contacts whose `adId` and channel came before; who has several channels has one way, whatever their order. */
export function copyCounter(): (contact: Contact) => Contact {
  /** By first channel, and by each. */
  const [begun, named] = [new Map<string, number>(), new Map<string, number>()];
  return (contact) => {
    const { adId, channel, next = [] } = contact;
    const first = `${channel} ${adId}`;
    const keys = [first, ...next.map((each) => `${each} ${adId}`)];
    const copies = next.length > 0 ? Math.max(...keys.map((key) => named.get(key) ?? 0)) : (begun.get(first) ?? 0);
    begun.set(first, copies + 1);
    for (const key of keys) named.set(key, Math.max(copies + 1, named.get(key) ?? 0));
    return copies > 0 ? { ...contact, copy: copies } : contact;
  };
}

/** One contact; undefined when it has faults. */
export function readContact(
  raw: unknown,
  at: string,
  channels: ChannelDirectory,
  faults: Fault[],
  { covered = () => false, readSendAt }: ContactTerms,
): Contact | undefined {
  if (typeof raw !== "object" || raw === null || Array.isArray(raw)) {
    faults.push({ pointer: at, detail: "must be an object" });
    return undefined;
  }
  const before = faults.length;
  const given = raw as Record<string, unknown>;
  const text = (name: string, max: number, required: boolean): string | undefined => {
    const value = given[name];
    if (value === undefined || value === null) {
      if (required) faults.push({ pointer: `${at}/${name}`, detail: "is missing" });
      return undefined;
    }
    if (typeof value !== "string") faults.push({ pointer: `${at}/${name}`, detail: "must be a string" });
    else if (value.trim() === "" && (required || name === "senderPhone"))
      faults.push({ pointer: `${at}/${name}`, detail: "must not be empty" });
    else if (value.length > max)
      faults.push({ pointer: `${at}/${name}`, detail: `must have at most ${max} characters` });
    else if (unstorable(value)) faults.push({ pointer: `${at}/${name}`, detail: UNSTORABLE });
    else return value;
    return undefined;
  };

  const contact: Contact = {
    adId: text("adId", 200, true) ?? "",
    recipientPhone: text("recipientPhone", 100, true) ?? "",
    channel: given["channels"] === undefined ? (text("channel", 100, true) ?? "") : "",
    message: text("message", Number.POSITIVE_INFINITY, false),
    senderPhone: text("senderPhone", 100, false),
    audioUrl: text("audioUrl", 2048, false),
  };
  if (given["channels"] !== undefined) {
    const [first = "", ...next] = readChannels(given, at, faults);
    contact.channel = first;
    if (next.length > 0) contact.next = next;
  }
  for (const fault of unknownFields(given, CONTACT_FIELDS, at)) faults.push(fault);
  const { consent, variables } = given;
  if (variables !== undefined && variables !== null)
    contact.variables = readVariables(variables, `${at}/variables`, faults);
  if (typeof consent === "boolean") contact.consent = consent;
  else if (consent !== undefined && consent !== null) {
    faults.push({ pointer: `${at}/consent`, detail: "must be true or false" });
  }
  const sendAt = readSendAt?.(given, at, faults);
  if (sendAt !== undefined) contact.sendAt = sendAt;
  if (faults.length > before) return undefined;
  const chosen = [contact.channel, ...(contact.next ?? [])];
  chosen.forEach((name, i) => {
    const channel = channels.get(name);
    if (channel) return readContent(channel, contact, given, at, faults, covered);
    const known = [...channels.keys()].map((each) => `"${each}"`).join(", ");
    const pointer = given["channels"] === undefined ? `${at}/channel` : `${at}/channels/${i}`;
    faults.push({ pointer, detail: `must be one of ${known}` });
  });
  return faults.length > before ? undefined : contact;
}

/** Takes over what a channel makes its content from, if it can. */
function readContent(
  channel: Channel,
  contact: Contact,
  given: Record<string, unknown>,
  at: string,
  faults: Fault[],
  covered: (channel: Channel) => boolean,
): void {
  for (const name of channel.single.inHunts ?? []) {
    const value = given[name];
    if (value !== undefined && value !== null) contact[name] = value;
  }
  const templated = contact.message === undefined && contact.audioUrl === undefined && covered(channel);
  const content = channel.contentOf(templated ? { ...contact, message: PLACEHOLDER } : contact);
  if ("content" in content) return;
  const isMissing = contact.message === undefined && "message" in channel.single.fields;
  for (const { pointer, detail } of content.faults) {
    const words = isMissing && pointer === "/message" ? noMessage(channel.name) : detail;
    faults.push({ pointer: at + pointer, detail: words });
  }
}

const noMessage = (channel: string): string => `has no message, and no template of the hunt is for ${channel}`;

function readChannels({ channel, channels }: Record<string, unknown>, at: string, faults: Fault[]): string[] {
  const pointer = `${at}/channels`;
  const names = Array.isArray(channels) ? channels.filter((name) => typeof name === "string") : [];
  if (channel !== undefined) faults.push({ pointer, detail: "Give channel or channels, not both." });
  if (!Array.isArray(channels) || names.length !== channels.length || names.length === 0) {
    faults.push({ pointer, detail: "must be a list of channels, the first choice first" });
  } else if (names.length > MAX_CHANNELS) {
    faults.push({ pointer, detail: `must have at most ${MAX_CHANNELS} channels` });
  } else if (new Set(names).size !== names.length) {
    faults.push({ pointer, detail: "names a channel twice" });
  }
  return names;
}
