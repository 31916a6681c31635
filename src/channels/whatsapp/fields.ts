import { z } from "zod";
import { urlFault } from "../../core/addresses.ts";
import { parsePhone } from "../../core/phone.ts";
import type { Fault } from "../../core/problem.ts";
import { UNSTORABLE, unstorable } from "../../core/text.ts";
import type { ContentInput } from "../channel.ts";
import { fileNameFault } from "../media.ts";
import { textFault, textSchema } from "../text.ts";

/** What is wrong with a value, in words, or undefined. */
type Rule = (value: unknown) => string | undefined;

/**
 * A field of a message: one rule, asked by hand for each of a hunt's 100,000 contacts, and as a schema for single sends
 * and jobs.
 */
export interface Field<T> {
  readonly fault: Rule;
  readonly schema: z.ZodType<T>;
}

function field<T>(base: z.ZodType<T>, fault: Rule, meta: Record<string, unknown>): Field<T> {
  const schema = base.superRefine((value, context) => {
    const detail = fault(value);
    if (detail !== undefined) context.addIssue({ code: "custom", message: detail });
  });
  return { fault, schema: schema.meta(meta) };
}

function text(what: string, maxLength: number): Field<string> {
  const fault: Rule = (value) => {
    if (typeof value !== "string") return `Give the ${what} as text.`;
    if (value.length > maxLength) {
      return `The ${what} has ${value.length} characters; at most ${maxLength} are allowed.`;
    }
    if (value.trim() === "") return `The ${what} is empty.`;
    return unstorable(value) ? `The ${what} ${UNSTORABLE}.` : undefined;
  };
  return field(z.string(), fault, { minLength: 1, maxLength });
}

function number(what: string, limit: number): Field<number> {
  const fault: Rule = (value) =>
    typeof value === "number" && Math.abs(value) <= limit
      ? undefined
      : `Give the ${what} as a number of degrees, from ${-limit} to ${limit}.`;
  return field(z.number(), fault, { minimum: -limit, maximum: limit });
}

function flag(what: string): Field<boolean> {
  return field(
    z.boolean(),
    (value) => (typeof value === "boolean" ? undefined : `Say ${what} with true or false.`),
    {},
  );
}

/**
 * The Cloud API's limit for `text.body`: https://developers.facebook.com/docs/whatsapp/cloud-api/messages/text-messages
 * (also https://developers.sinch.com/docs/conversation/message-types/text-message). WhatsApp's own clients send longer
 * texts, but a message must not depend on which of our providers carries it.
 */
export const MAX_TEXT = 4096;
export const bodyText: Field<string> = {
  fault: (value) => textFault(value, MAX_TEXT),
  schema: textSchema(MAX_TEXT),
};

/** The Cloud API's: https://developers.facebook.com/docs/whatsapp/cloud-api/messages/image-messages (and its siblings). */
export const caption = text("caption", 1024);

/** An id of ours is a UUID, one of WhatsApp's about 30 characters; the limit is our choice. */
export const replyTo = text("id of the message replied to", 200);

/** Our choice, and what browsers and servers commonly take. */
const MAX_URL = 2048;
export const mediaUrl = field(
  z.string(),
  (value) => {
    if (typeof value !== "string") return "Give the file's address as text.";
    if (value.length > MAX_URL) return `The address has ${value.length} characters; at most ${MAX_URL} are allowed.`;
    return unstorable(value) ? `The address ${UNSTORABLE}.` : urlFault(value);
  },
  { format: "uri", maxLength: MAX_URL },
);

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
export const mediaId = field(
  z.string(),
  (value) => (typeof value === "string" && UUID.test(value) ? undefined : "Give the mediaId that the upload answered."),
  { format: "uuid" },
);

export const fileName = field(z.string(), fileNameFault, { minLength: 1, maxLength: 200 });
export const voiceNote = flag("whether it is a voice note");
export const multipleAnswers = flag("whether several answers may be chosen");

export const latitude = number("latitude", 90);
export const longitude = number("longitude", 180);
/** Our choice: more does not show beneath a map. */
export const placeName = text("place's name", 200);
export const placeAddress = text("place's address", 400);

const plainName = text("contact's name", 100);
/** The limit is our choice. One line, as it stands in a vCard. */
export const contactName = field(
  z.string(),
  (value) =>
    plainName.fault(value) ?? (/\p{Cc}/u.test(value as string) ? "The contact's name holds a line break." : undefined),
  { minLength: 1, maxLength: 100 },
);
/** Its country is not known: unlike a recipient's, it is not written for the account's own. */
export const contactPhone = field(
  z.string(),
  (value) => {
    if (typeof value !== "string" || value.length > 100) return "Give the contact's number in E.164, as text.";
    if (!/^\s*(?:\+|00)/.test(value)) return "Give the contact's number in E.164, with + and the country's code.";
    const phone = parsePhone(value, "FR");
    return phone.ok ? undefined : phone.detail;
  },
  { minLength: 1, maxLength: 100 },
);

/** WhatsApp's, as https://green-api.com/en/docs/api/sending/SendPoll has them: 255 characters, 12 options, all different. */
export const question = text("question", 255);
const MAX_OPTIONS = 12;
/** WhatsApp's clients let nobody write more. */
const MAX_OPTION = 100;
const option = text("option", MAX_OPTION);
export const options = field(
  z.array(z.string()),
  (value) => {
    if (!Array.isArray(value) || value.length < 2 || value.length > MAX_OPTIONS) {
      return `Give the options as a list of 2 to ${MAX_OPTIONS} texts.`;
    }
    for (const each of value as unknown[]) {
      const fault = option.fault(each);
      if (fault !== undefined) return fault;
    }
    // Votes are counted by the option's hash.
    const different = new Set((value as string[]).map((each) => each.trim()));
    return different.size < value.length ? "Two of the options are the same." : undefined;
  },
  { minItems: 2, maxItems: MAX_OPTIONS, items: { type: "string", minLength: 1, maxLength: MAX_OPTION } },
);

/** Takes fields out of an input, and keeps what is wrong with them. */
export class Reading {
  readonly #input: ContentInput;
  readonly #faults: Fault[] = [];

  constructor(input: ContentInput) {
    this.#input = input;
  }

  has(name: string): boolean {
    return this.#input[name] !== undefined;
  }

  /** The field's value, or undefined where it is not given. */
  optional<T>(name: string, { fault }: Field<T>): T | undefined {
    const value = this.#input[name];
    if (value === undefined) return undefined;
    const detail = fault(value);
    if (detail !== undefined) this.fault(name, detail);
    return value as T;
  }

  /** The field's value; `missing` says in words that there is none. */
  required<T>(name: string, field: Field<T>, missing: string): T {
    if (!this.has(name)) this.fault(name, missing);
    return this.optional(name, field) as T;
  }

  fault(name: string, detail: string): void {
    this.#faults.push({ pointer: `/${name}`, detail });
  }

  /** The content made of what was taken, unless something was wrong with it. */
  result<Content>(content: Content): { content: Content } | { faults: Fault[] } {
    return this.#faults.length === 0 ? { content } : { faults: this.#faults };
  }
}
