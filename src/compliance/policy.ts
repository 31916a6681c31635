import { z } from "zod";
import { lawOf } from "../core/countries.ts";
import type { Ruled } from "../core/rules.ts";
import { shortText } from "../core/text.ts";

/** Channels of one kind are under the same law: an SMS, a call, a message of a messenger. */
export type Kind = Ruled["kind"];
export const KINDS = ["whatsapp", "sms", "voice"] as const satisfies readonly Kind[];

/** Hours of some days of the week, in the recipient's own zone. */
export interface Hours {
  /** 1 is Monday, 7 Sunday. */
  days: readonly number[];
  /** `09:00`; included. */
  from: string;
  /** `20:00`, or `24:00`; not included. */
  to: string;
}

/** When, how often and to whom marketing may be sent. */
export interface Policy {
  hours: Record<Kind, "any" | readonly Hours[]>;
  /**
   * Days on which nothing is sent: the French public holidays, without or with the two (Good Friday and 26 December) that only
   * Alsace and Moselle have.
   */
  holidays: "none" | "fr" | "fr-alsace-moselle";
  /** Messages for one person, over all channels of an account: on a day of the recipient's, and in 30 days. null: any number. */
  perDay: number | null;
  per30Days: number | null;
  /** Whether the person must have agreed before. */
  consent: Record<Kind, boolean>;
  /** Whether an SMS has to say how to stop further ones: in the service's words (true), or in these. */
  stopNotice: boolean | string;
}

const MONDAY_TO_FRIDAY = [1, 2, 3, 4, 5];
const MONDAY_TO_SATURDAY = [...MONDAY_TO_FRIDAY, 6];
const EVERY_DAY = [...MONDAY_TO_SATURDAY, 7];
const everywhere = <T>(value: T): Record<Kind, T> => ({ whatsapp: value, sms: value, voice: value });
const CAPS = { perDay: 1, per30Days: 4 };

/** Nothing is asked. */
const NONE: Policy = {
  hours: everywhere("any"),
  holidays: "none",
  perDay: null,
  per30Days: null,
  consent: everywhere(false),
  stopNotice: false,
};

/**
 * Defaults, no legal advice; docs/compliance.md says what is law, what is the operators' rule and what is our own choice.
 */
const NAMED = {
  none: NONE,
  "marketing-fr": {
    hours: {
      // Operators block marketing after 22:00, on Sundays and on public holidays.
      ...everywhere([{ days: MONDAY_TO_SATURDAY, from: "08:00", to: "22:00" }]),
      // Décret n° 2022-1313: the hours of phone solicitation.
      voice: [
        { days: MONDAY_TO_FRIDAY, from: "10:00", to: "13:00" },
        { days: MONDAY_TO_FRIDAY, from: "14:00", to: "20:00" },
      ],
    },
    // A number does not tell who lives in Alsace or Moselle: their two holidays are kept for everybody.
    holidays: "fr-alsace-moselle",
    ...CAPS,
    consent: everywhere(true),
    stopNotice: true,
  },
  "marketing-eu": {
    hours: everywhere([{ days: MONDAY_TO_SATURDAY, from: "09:00", to: "20:00" }]),
    holidays: "none",
    ...CAPS,
    consent: everywhere(true),
    // Directive 2002/58/EC, article 13: each message tells how to refuse further ones.
    stopNotice: true,
  },
  "marketing-us": {
    // 47 CFR 64.1200(c)(1): 8 a.m. to 9 p.m. of the called party.
    hours: everywhere([{ days: EVERY_DAY, from: "08:00", to: "21:00" }]),
    holidays: "none",
    ...CAPS,
    consent: everywhere(true),
    stopNotice: false,
  },
} satisfies Record<string, Policy>;

/** `country`: the marketing policy of the recipient's country. */
export const POLICY_NAMES = ["country", "marketing-fr", "marketing-eu", "marketing-us", "none"] as const;
export type PolicyName = (typeof POLICY_NAMES)[number];

function named(name: PolicyName, country: string | undefined): Policy {
  if (name !== "country") return NAMED[name];
  switch (lawOf(country)) {
    case "FR":
      return NAMED["marketing-fr"];
    case "US":
      return NAMED["marketing-us"];
    default:
      return NAMED["marketing-eu"];
  }
}

/** Words as text, and no enumeration, so that whoever gives a list or an object in their place is told what is wrong with that. */
const oneOf = <const Word extends string>(words: readonly Word[]) =>
  z
    .string()
    .refine((text) => (words as readonly string[]).includes(text), `must be one of ${words.join(", ")}`)
    .meta({ enum: words }) as unknown as z.ZodType<Word, Word>;

const time = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$|^24:00$/, "must be a time such as 09:30");
const hours = z.union([
  oneOf(["any"]),
  z
    .array(
      z
        .strictObject({ days: z.array(z.int().min(1).max(7)).min(1), from: time, to: time })
        .refine(({ from, to }) => from < to, "from must be before to; give hours over midnight as two"),
    )
    .max(50),
]);
const ofKinds = <T extends z.ZodType>(value: T) =>
  z.strictObject({ whatsapp: value.optional(), sms: value.optional(), voice: value.optional() });
const cap = z.int().min(0).max(10_000).nullable();
/** As long as an SMS. */
const MAX_NOTICE = 160;
/** One without a word would go out as an empty line. */
const noticeText = shortText(MAX_NOTICE)
  .refine((text) => !/^\s+$/.test(text), "must say something, or be false")
  .trim();

/** An account's own values; what is absent is as in `base`, which is `none` unless it is named. */
const ownValues = z.strictObject({
  base: z.enum(POLICY_NAMES).optional(),
  hours: ofKinds(hours).optional(),
  holidays: z.enum(["none", "fr", "fr-alsace-moselle"]).optional(),
  perDay: cap.optional(),
  per30Days: cap.optional(),
  consent: ofKinds(z.boolean()).optional(),
  stopNotice: z
    .union([z.boolean(), noticeText])
    .optional()
    .describe(
      "What an SMS says of how to stop: `true` the service's words (`SMS_STOP_NOTICE`), or these; `false` nothing",
    ),
});

/** What `accounts.policy` may be. */
export const policySchema = z.union([oneOf(POLICY_NAMES), ownValues]).nullable();

/**
 * The policy that a ledger's value stands for, for a recipient of that country; or, in words, what is wrong with the value.
 * Answers the same object for the same values.
 */
export function createPolicies(
  fallback: PolicyName,
): (stored: unknown, country: string | undefined) => Policy | string {
  const own = new Map<string, Policy | string>();
  return (stored, country) => {
    if (stored === null || stored === undefined) return named(fallback, country);
    const name = POLICY_NAMES.find((each) => each === stored);
    if (name) return named(name, country);
    const key = `${country} ${JSON.stringify(stored)}`;
    const known = own.get(key);
    if (known !== undefined) return known;
    const policy = readOwn(stored, country);
    // Accounts change theirs now and then; what nobody has any more is not kept for ever.
    if (own.size >= MAX_KEPT) own.clear();
    own.set(key, policy);
    return policy;
  };
}

const MAX_KEPT = 1000;

function readOwn(stored: unknown, country: string | undefined): Policy | string {
  const parsed = ownValues.safeParse(stored);
  if (!parsed.success) {
    const words = parsed.error.issues.map(({ path, message }) => `${path.join(".") || "it"}: ${message}`).join("; ");
    return `The account's policy is none of ${POLICY_NAMES.join(", ")}, and no values of its own: ${words}.`;
  }
  const { base = "none", ...given } = parsed.data;
  const policy = named(base, country);
  return {
    hours: over(policy.hours, given.hours),
    holidays: given.holidays ?? policy.holidays,
    perDay: given.perDay === undefined ? policy.perDay : given.perDay,
    per30Days: given.per30Days === undefined ? policy.per30Days : given.per30Days,
    consent: over(policy.consent, given.consent),
    stopNotice: given.stopNotice ?? policy.stopNotice,
  };
}

function over<T>(base: Record<Kind, T>, given: Partial<Record<Kind, T | undefined>> = {}): Record<Kind, T> {
  return Object.fromEntries(KINDS.map((kind) => [kind, given[kind] ?? base[kind]])) as Record<Kind, T>;
}
