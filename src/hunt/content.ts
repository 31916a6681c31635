import { z } from "zod";
import type { Channel } from "../channels/channel.ts";
import type { Fault } from "../core/problem.ts";
import { shortText } from "../core/text.ts";
import type { TemplateStore } from "../store/templates.ts";
import { parseTemplate, templateText } from "../templates/template.ts";

/** What a submission says to contacts without a message of their own: its templates' texts as they were when it was accepted. */
export interface HuntContent {
  /** One without a name where no variants were given; none where no template was. */
  variants: PinnedVariant[];
  /** How long a contact's next channel waits for a delivery, seconds; undefined: for ever. */
  fallbackAfterSeconds: number | undefined;
}

export interface PinnedVariant {
  name?: string | undefined;
  /** Against the other variants' weights. */
  weight: number;
  /** Templates by channel, or for all channels that carry a text. */
  texts: Readonly<Record<string, string>>;
  templateId?: string | undefined;
  version?: number | undefined;
}

/** In `texts`: every channel that has no text of its own. */
const ANY = "*";
const MAX_VARIANTS = 10;
const MAX_FALLBACK_SECONDS = 7 * 86_400;

export const carriesText = ({ single: { fields } }: Channel): boolean => "message" in fields || "text" in fields;

export const textOf = ({ texts }: PinnedVariant, channel: string): string | undefined => texts[channel] ?? texts[ANY];

export const templatesOf = ({ variants }: HuntContent): string[] => [
  ...new Set(variants.flatMap(({ templateId }) => templateId ?? [])),
];

/** Whether whoever gives no message of their own gets one on this channel, whichever variant is theirs. */
export function covers({ variants }: Pick<HuntContent, "variants">, channel: Channel): boolean {
  const { name } = channel;
  return (
    variants.length > 0 && carriesText(channel) && variants.every((variant) => textOf(variant, name) !== undefined)
  );
}

/** What a hunt's body may say of its content, beside its contacts. */
export function contentFields(channels: Iterable<Channel>) {
  const names = [...channels].filter(carriesText).map(({ name }) => name);
  const source = {
    template: templateText
      .optional()
      .describe("What contacts without a `message` are sent, in Liquid; `{{ name }}` is the contact's variable"),
    templates: z
      .strictObject(Object.fromEntries(names.map((name) => [name, templateText.optional()])))
      .optional()
      .describe("Instead of `template`, by channel"),
    templateId: z.uuid().optional().describe("Instead of `template`, one of the account's"),
    templateVersion: z
      .int()
      .positive()
      .max(2_147_483_647)
      .optional()
      .describe("Of `templateId`; default: the newest when the hunt is accepted"),
  };
  const variant = z.strictObject({
    name: shortText(50).regex(/^[\0\P{Cc}]*$/u, "must not contain control characters"),
    weight: z.number().positive().max(1_000_000).default(1).describe("Against the other variants'"),
    ...source,
  });
  return {
    ...source,
    variants: z
      .array(variant)
      .min(1)
      .max(MAX_VARIANTS)
      .optional()
      .describe("Instead of `template`: each contact gets one of them, by weight, and always the same"),
    fallbackAfterSeconds: z
      .int()
      .min(1)
      .max(MAX_FALLBACK_SECONDS)
      .optional()
      .describe(
        "For contacts with several `channels`: the next one is used too when a sent message is not delivered within this time",
      ),
  };
}

interface Source {
  template?: string | undefined;
  templates?: Record<string, string | undefined> | undefined;
  templateId?: string | undefined;
  templateVersion?: number | undefined;
}

export interface GivenContent extends Source {
  variants?: (Source & { name: string; weight: number })[] | undefined;
  fallbackAfterSeconds?: number | undefined;
}

/** What no single field of the variants shows, also where their fields are wrong. */
export function variantFaults(variants: unknown): Fault[] {
  if (!Array.isArray(variants) || variants.length > MAX_VARIANTS) return [];
  const faults: Fault[] = [];
  const names = new Set<unknown>();
  variants.forEach((variant: unknown, i) => {
    if (typeof variant !== "object" || variant === null || Array.isArray(variant)) return;
    const { name } = variant as { name?: unknown };
    if (typeof name === "string" && names.has(name))
      faults.push({ pointer: `/variants/${i}/name`, detail: "is the name of another variant" });
    names.add(name);
    if (!hasSource(variant))
      faults.push({ pointer: `/variants/${i}`, detail: "has no template: give template, templates or templateId" });
  });
  return faults;
}

/** The content with its templates looked up; what is wrong with it goes to `faults`. Rejects with `UnavailableError`. */
export async function readHuntContent(
  given: GivenContent,
  accountId: string,
  store: Pick<TemplateStore, "read">,
  faults: Fault[],
): Promise<HuntContent> {
  const { variants, fallbackAfterSeconds } = given;
  const own = await readSource(given, "", variants === undefined, accountId, store, faults);
  const pinned: PinnedVariant[] = own ? [{ weight: 1, ...own }] : [];
  for (const [i, { name, weight, ...source }] of (variants ?? []).entries()) {
    const read = await readSource(source, `/variants/${i}`, true, accountId, store, faults);
    if (read) pinned.push({ name, weight, ...read });
  }
  return { variants: pinned, fallbackAfterSeconds };
}

const hasSource = ({ template, templates, templateId }: Source): boolean =>
  template !== undefined || templates !== undefined || templateId !== undefined;

async function readSource(
  { template, templates, templateId, templateVersion }: Source,
  at: string,
  alone: boolean,
  accountId: string,
  store: Pick<TemplateStore, "read">,
  faults: Fault[],
): Promise<Omit<PinnedVariant, "weight"> | undefined> {
  const given = Object.entries({ template, templates, templateId }).filter(([, value]) => value !== undefined);
  if (given.length > 1 || (given.length === 1 && !alone)) {
    faults.push({
      pointer: `${at}/${given[0]![0]}`,
      detail: "Give one of template, templates, templateId and variants.",
    });
    return undefined;
  }
  if (templateVersion !== undefined && templateId === undefined) {
    faults.push({ pointer: `${at}/templateVersion`, detail: "is the version of no templateId" });
  }
  if (template !== undefined) return { texts: { [ANY]: template } };
  if (templates !== undefined) {
    const texts = Object.entries(templates).filter((entry): entry is [string, string] => entry[1] !== undefined);
    if (texts.length === 0) faults.push({ pointer: `${at}/templates`, detail: "has no template" });
    return { texts: Object.fromEntries(texts) };
  }
  if (templateId === undefined) return undefined;
  const stored = await store.read(accountId, templateId, templateVersion);
  // Whoever writes to the database by hand may have put anything there.
  const fault = stored === undefined ? "names no template of this account, or no version of it" : faultOf(stored.text);
  if (stored === undefined || fault !== undefined) {
    faults.push({ pointer: `${at}/templateId`, detail: fault ?? "" });
    return undefined;
  }
  return { texts: { [stored.channel ?? ANY]: stored.text }, templateId, version: stored.version };
}

function faultOf(text: string): string | undefined {
  const parsed = parseTemplate(text);
  return "fault" in parsed ? parsed.fault : undefined;
}
