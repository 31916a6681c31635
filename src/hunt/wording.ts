import { createHash } from "node:crypto";
import type { Channel } from "../channels/channel.ts";
import { parseTemplate, type Template } from "../templates/template.ts";
import type { Contact } from "./contacts.ts";
import { carriesText, textOf, type HuntContent, type PinnedVariant } from "./content.ts";

/** What a contact is sent over one channel, and out of which variant; `skip`: why it cannot be said. */
export interface Words {
  message: string | undefined;
  variant: string | undefined;
  skip?: { skip: string; detail: string };
}

export type Wording = (contact: Contact, channel: Channel) => Words;

/** Says what each contact of a hunt is sent: its own message, or what the hunt's templates make of its variables. */
export function createWording(huntId: string, content: HuntContent | undefined): Wording {
  const variants = content?.variants ?? [];
  const parsed = new Map<string, Template | undefined>();
  const templateOf = (text: string): Template | undefined => {
    if (!parsed.has(text)) {
      const answer = parseTemplate(text);
      parsed.set(text, "template" in answer ? answer.template : undefined);
    }
    return parsed.get(text);
  };
  return (contact, channel) => {
    const own: Words = { message: contact.message, variant: undefined };
    // A recording takes the place of a text.
    if (contact.message !== undefined || contact.audioUrl !== undefined || !carriesText(channel)) return own;
    const variant = variantOf(huntId, contact.adId, variants);
    const text = variant && textOf(variant, channel.name);
    if (variant === undefined || text === undefined) return own;
    const rendered = templateOf(text)?.render(contact.variables ?? {}) ?? { failed: "The template cannot be read." };
    const words: Words = { message: undefined, variant: variant.name };
    if ("text" in rendered) return { ...words, message: rendered.text };
    if ("missing" in rendered) return { ...words, skip: { skip: "missing_variable", detail: rendered.missing } };
    return { ...words, skip: { skip: "invalid_content", detail: rendered.failed } };
  };
}

/** Always the same for the same contact of a hunt, over every channel and however often it is planned. */
export function variantOf(huntId: string, adId: string, variants: readonly PinnedVariant[]): PinnedVariant | undefined {
  if (variants.length <= 1) return variants[0];
  const hash = createHash("sha256")
    .update(JSON.stringify([huntId, adId]))
    .digest();
  const total = variants.reduce((sum, { weight }) => sum + weight, 0);
  let left = (hash.readUInt32BE(0) / 2 ** 32) * total;
  return variants.find(({ weight }) => (left -= weight) < 0) ?? variants.at(-1);
}
