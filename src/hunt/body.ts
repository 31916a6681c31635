import { z } from "zod";
import type { Clock } from "../core/clock.ts";
import { check } from "../core/faults.ts";
import { invalidRequest, type Fault } from "../core/problem.ts";
import { shortText } from "../core/text.ts";
import { refusalOf } from "../core/refusals.ts";
import type { NewHunt, Store } from "../store/store.ts";
import type { TemplateStore } from "../store/templates.ts";
import { contactSchema } from "./contact.schema.ts";
import { readContacts, unknownFields, type ChannelDirectory, type Contact, type ContactTerms } from "./contacts.ts";
import {
  contentFields,
  covers,
  readHuntContent,
  templatesOf,
  variantFaults,
  type GivenContent,
  type HuntContent,
} from "./content.ts";
import { createTiming, DATE_FAULT, isDate, timingShape, type HuntTimes } from "./timing.ts";

/** Contacts of one request. More are submitted in several requests for the same hunt. */
export const MAX_CONTACTS = 200_000;

/** NUL is let through here, because `shortText` tells of it. */
export const huntIdSchema = shortText(200).regex(/^[\0\P{Cc}]*$/u, "must not contain control characters");

export const prioritySchema = z.enum(["high", "normal", "low"]);

export const expiresAtSchema = z.iso.datetime({ offset: true }).refine((text) => isDate(Date.parse(text)), DATE_FAULT);

/** A hunt without its contacts as it was found right, with its templates looked up. */
export interface HuntHead extends HuntTimes {
  huntId: string;
  accountId: string;
  priority: "high" | "normal" | "low" | undefined;
  content: HuntContent;
}

export interface HuntBody extends HuntHead {
  contacts: Contact[];
}

/** A head that has been read, right or wrong: its contacts can be checked all the same. */
export interface ReadHead {
  terms: ContactTerms;
  /** Only of a head without faults, once all of its contacts have been read. */
  result(): HuntHead;
}

export interface HuntBodyReader {
  schema: z.ZodObject;
  example: object;
  /** All faults of the whole body at once, without holding the event loop for a big hunt. */
  parse(raw: unknown): Promise<HuntBody>;
  /** Everything but the contacts; faults, by JSON pointers that begin with `at`, go to `faults`. Rejects with `UnavailableError`. */
  readHead(raw: unknown, faults: Fault[], at?: string): Promise<ReadHead>;
}

/** The body of everything that takes a hunt. */
export function huntBody(
  channels: ChannelDirectory,
  store: { readonly templates: Pick<TemplateStore, "read"> },
  clock: Clock,
): HuntBodyReader {
  const head = z.strictObject({
    huntId: huntIdSchema.describe("The hunt, in the web app's own words. Giving it again adds contacts to it"),
    accountId: shortText(200),
    priority: prioritySchema
      .optional()
      .describe("The hunt's; default: normal. A further submission leaves it out, or gives the same (`hunt_differs`)"),
    expiresAt: expiresAtSchema
      .optional()
      .describe(
        "Nothing is sent after it; default: in seven days, or seven days after the last `sendAt`. The hunt's, as `priority`",
      ),
    ...timingShape,
    ...contentFields(channels.values()),
  });
  // Made once: zod compiles a schema when it is used for the first time, which takes longer than all else of a small hunt.
  const headAlone = readerOf(head);
  const shallow = readerOf(head.extend({ contacts: z.array(z.unknown()).min(1).max(MAX_CONTACTS) }));

  return {
    schema: head.extend({ contacts: z.array(contactSchema(channels)).min(1).max(MAX_CONTACTS) }),
    example: {
      huntId: "hunt_123",
      accountId: "acc_456",
      template: "Bonjour {{ name }}, votre bien est-il libre ?",
      contacts: [
        { adId: "ad_789", recipientPhone: "+33612345678", channel: "sms", variables: { name: "Mme Martin" } },
        { adId: "ad_790", recipientPhone: "+33612345679", channel: "sms", message: "Bonjour, est-ce libre ?" },
      ],
    },
    async parse(raw) {
      const faults: Fault[] = [];
      const head = await readHead(shallow, raw, faults);
      const given = (raw as { contacts?: unknown } | null)?.contacts;
      const contacts =
        Array.isArray(given) && given.length <= MAX_CONTACTS
          ? await readContacts(given, channels, faults, head.terms)
          : [];
      if (faults.length > 0) throw invalidRequest(faults);
      return { ...head.result(), contacts };
    },
    readHead: (raw, faults, at) => readHead(headAlone, raw, faults, at),
  };

  async function readHead({ schema, fields }: Reader, raw: unknown, faults: Fault[], at = ""): Promise<ReadHead> {
    const { value, faults: own } = check(schema, raw);
    own.push(...unknownFields(raw, fields));
    own.push(...variantFaults((raw as GivenContent | null)?.variants));
    const read = value as (z.output<typeof head> & GivenContent) | undefined;
    const timing = createTiming(read ?? raw, clock.now(), own);
    const content = read && (await readHuntContent(read, read.accountId, store.templates, own));
    faults.push(...own.map(({ pointer, detail }) => ({ pointer: at + pointer, detail })));
    // Where the head is not right, what it says to whom is not known: the templates' own faults are told first.
    const covered = content && own.length === 0 ? content : lenient(raw);
    return {
      terms: {
        covered: (channel) => covered === "all" || covers(covered, channel),
        readSendAt: timing.readSendAt,
      },
      result() {
        const { huntId, accountId, priority } = read!;
        return { huntId, accountId, priority, content: content!, ...timing.result() };
      },
    };
  }
}

interface Reader {
  /** Beside a field that is not known all others are read as well. */
  schema: z.ZodType;
  fields: ReadonlySet<string>;
}

const readerOf = (schema: z.ZodObject): Reader => ({
  schema: schema.strip(),
  fields: new Set(Object.keys(schema.shape)),
});

/** As the ledger takes it. */
export function newHuntOf({ huntId: id, content, ...rest }: HuntHead): NewHunt {
  const says = content.variants.length > 0 || content.fallbackAfterSeconds !== undefined;
  return { id, ...rest, content: says ? content : undefined, templateIds: templatesOf(content) };
}

/** Of a body that is wrong: any template in it might have spoken for every contact. */
function lenient(raw: unknown): "all" | Pick<HuntContent, "variants"> {
  const { template, templates, templateId, variants } = (raw ?? {}) as Record<string, unknown>;
  return [template, templates, templateId, variants].some((each) => each !== undefined) ? "all" : { variants: [] };
}

/** Before much is staged for an account that will be refused. */
export async function refuseAccount(store: Pick<Store, "account">, accountId: string): Promise<void> {
  const account = await store.account(accountId);
  if (!account) throw refusalOf("unknown_account", "/accountId");
  if (account.status === "suspended") throw refusalOf("suspended_account", "/accountId");
}
