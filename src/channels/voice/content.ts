import { createHash } from "node:crypto";
import { z } from "zod";
import { urlFault } from "../../core/addresses.ts";
import type { Fault } from "../../core/problem.ts";
import { UNSTORABLE, unstorable } from "../../core/text.ts";
import type { ContentInput } from "../channel.ts";
import { textContentOf, textSchema } from "../text.ts";

/** What is left in the recipient's voicemail: a text to speak or a recording to play. */
export type VoiceContent = { text: string } | { audioUrl: string };

/** The queue that its jobs are in. */
export const VOICE_QUEUE = "voice";

/** About three minutes of speech. Our choice; it is no vendor's limit. */
export const MAX_TEXT_LENGTH = 3000;
const MAX_URL_LENGTH = 2048;

/** What a name leads to is checked where it is fetched: names resolve differently later. */
function audioUrlFault(value: unknown): string | undefined {
  if (typeof value !== "string") return "Give the recording's address as text.";
  if (value.length > MAX_URL_LENGTH) return `The address is longer than ${MAX_URL_LENGTH} characters.`;
  return unstorable(value) ? `The address ${UNSTORABLE}.` : urlFault(value);
}

export const audioUrlSchema = z
  .string()
  .superRefine((value, context) => {
    const fault = audioUrlFault(value);
    if (fault !== undefined) context.addIssue({ code: "custom", message: fault });
  })
  .meta({ format: "uri", maxLength: MAX_URL_LENGTH });

export const voiceContentSchema = z.union([
  z.strictObject({ text: textSchema(MAX_TEXT_LENGTH) }),
  z.strictObject({ audioUrl: audioUrlSchema }),
]);

/** A hunt's contact has one `message` for all its channels: a recording, where given, takes its place here. */
export function contentOf({ message, audioUrl }: ContentInput): { content: VoiceContent } | { faults: Fault[] } {
  if (audioUrl !== undefined) {
    const detail = audioUrlFault(audioUrl);
    return detail === undefined ? { content: { audioUrl } } : { faults: [{ pointer: "/audioUrl", detail }] };
  }
  if (message === undefined) {
    return { faults: [{ pointer: "/message", detail: "Give a message to speak or an audioUrl to play." }] };
  }
  return textContentOf(message, MAX_TEXT_LENGTH);
}

/** Tells one content from another without showing it. */
export function digestOf(content: VoiceContent): string {
  const words = "text" in content ? `text ${content.text}` : `audio ${content.audioUrl}`;
  return createHash("sha256").update(words).digest("hex").slice(0, 16);
}
