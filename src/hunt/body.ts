import { z } from "zod";
import { check } from "../core/faults.ts";
import { invalidRequest } from "../core/problem.ts";
import { shortText } from "../core/text.ts";
import type { TemplateStore } from "../store/templates.ts";
import { contactSchema, readContacts, type ChannelDirectory, type Contact } from "./contacts.ts";
import { contentFields, covers, readHuntContent, type GivenContent, type HuntContent } from "./content.ts";

/** Contacts of one request. More are submitted in several requests for the same hunt. */
const MAX_CONTACTS = 200_000;

/** NUL is let through here, because `shortText` tells of it. */
export const huntIdSchema = shortText(200).regex(/^[\0\P{Cc}]*$/u, "must not contain control characters");

/** A hunt as it was found right, with its templates looked up. */
export interface HuntBody {
  huntId: string;
  accountId: string;
  priority: "high" | "normal" | "low";
  /** In UTC: Postgres refuses offsets of 16 hours and more. */
  expiresAt: string | undefined;
  content: HuntContent;
  contacts: Contact[];
}

export interface HuntBodyReader {
  schema: z.ZodObject;
  example: object;
  /** All faults of the whole body at once, without holding the event loop for a big hunt. */
  parse(raw: unknown): Promise<HuntBody>;
}

/** The body of everything that takes a hunt. */
export function huntBody(
  channels: ChannelDirectory,
  store: { readonly templates: Pick<TemplateStore, "read"> },
): HuntBodyReader {
  const head = z.object({
    huntId: huntIdSchema.describe("The hunt, in the web app's own words. Giving it again adds contacts to it"),
    accountId: shortText(200),
    priority: z.enum(["high", "normal", "low"]).default("normal"),
    // Postgres has no year 0.
    expiresAt: z.iso
      .datetime({ offset: true })
      .refine((text) => !(Date.parse(text) <= 0), "must be after 1970")
      .optional()
      .describe("Nothing is sent after it; default: in seven days"),
    ...contentFields(channels.values()),
  });
  const shallow = head.extend({ contacts: z.array(z.unknown()).min(1).max(MAX_CONTACTS) });

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
      const { value, faults } = check(shallow, raw);
      const read = value as (z.output<typeof head> & GivenContent) | undefined;
      const content = read && (await readHuntContent(read, read.accountId, store.templates, faults));
      const given = (raw as { contacts?: unknown } | null)?.contacts;
      // Where the head is not right, what it says to whom is not known: the templates' own faults are told first.
      const covered = content && faults.length === 0 ? content : lenient(raw);
      const contacts =
        Array.isArray(given) && given.length <= MAX_CONTACTS
          ? await readContacts(given, channels, faults, (channel) => covered === "all" || covers(covered, channel))
          : [];
      if (faults.length > 0 || !read || !content) throw invalidRequest(faults);
      const { huntId, accountId, priority, expiresAt } = read;
      return {
        huntId,
        accountId,
        priority,
        expiresAt: expiresAt && new Date(expiresAt).toISOString(),
        content,
        contacts,
      };
    },
  };
}

/** Of a body that is wrong: any template in it might have spoken for every contact. */
function lenient(raw: unknown): "all" | Pick<HuntContent, "variants"> {
  const { template, templates, templateId, variants } = (raw ?? {}) as Record<string, unknown>;
  return [template, templates, templateId, variants].some((each) => each !== undefined) ? "all" : { variants: [] };
}
