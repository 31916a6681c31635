import { z } from "zod";
import type { Fault } from "../../core/problem.ts";
import { UNSTORABLE, unstorable } from "../../core/text.ts";
import type { Channel, ContentInput } from "../channel.ts";
import { sandboxProvider } from "../sandbox.ts";
import { optionalText, textContentOf, textSchema } from "../text.ts";

/** What is left in the recipient's voicemail: a text to speak or a recording to play. */
type VoiceContent = { text: string } | { audioUrl: string };

/** About three minutes of speech. Our choice; it is no vendor's limit. */
const MAX_LENGTH = 3000;
const MAX_URL_LENGTH = 2048;

/** Whether the address is a public one is checked where it is fetched: names resolve differently later. */
function audioUrlFault(value: unknown): string | undefined {
  if (typeof value !== "string") return "Give the recording's address as text.";
  if (value.length > MAX_URL_LENGTH) return `The address is longer than ${MAX_URL_LENGTH} characters.`;
  if (unstorable(value)) return `The address ${UNSTORABLE}.`;
  const url = URL.parse(value);
  if (url === null || (url.protocol !== "https:" && url.protocol !== "http:")) {
    return "Not an address that can be fetched: give an http:// or https:// URL.";
  }
  return undefined;
}

const audioUrlSchema = z
  .string()
  .superRefine((value, context) => {
    const fault = audioUrlFault(value);
    if (fault !== undefined) context.addIssue({ code: "custom", message: fault });
  })
  .meta({ format: "uri", maxLength: MAX_URL_LENGTH });

const content = z.union([
  z.strictObject({ text: textSchema(MAX_LENGTH) }),
  z.strictObject({ audioUrl: audioUrlSchema }),
]);

/** A hunt's contact has one `message` for all its channels: a recording, where given, takes its place here. */
function contentOf({ message, audioUrl }: ContentInput): { content: VoiceContent } | { faults: Fault[] } {
  if (audioUrl !== undefined) {
    const detail = audioUrlFault(audioUrl);
    return detail === undefined ? { content: { audioUrl } } : { faults: [{ pointer: "/audioUrl", detail }] };
  }
  if (message === undefined) {
    return { faults: [{ pointer: "/message", detail: "Give a message to speak or an audioUrl to play." }] };
  }
  return textContentOf(message, MAX_LENGTH);
}

export const voiceChannel: Channel<VoiceContent> = {
  name: "ringless_voice",
  queue: "voice",
  providerVariable: "VOICE_PROVIDER",
  providers: [sandboxProvider("ringless_voice")],
  content,
  contentOf,
  single: {
    path: "/api/phone/ringless-voice",
    summary: "Leave one ringless voicemail",
    fields: {
      text: textSchema(MAX_LENGTH).optional().describe("The text to speak, 1 to 3000 characters; or give audioUrl."),
      audioUrl: audioUrlSchema.optional().describe("The recording to play, an http(s) URL; or give text."),
    },
    check(body) {
      const given = Number(body["text"] !== undefined) + Number(body["audioUrl"] !== undefined);
      if (given === 1) return [];
      const detail = given === 0 ? "Give a text to speak or an audioUrl to play." : "Give text or audioUrl, not both.";
      return [{ pointer: "/text", detail }];
    },
    input: (body) => ({
      message: optionalText(body["text"]),
      audioUrl: optionalText(body["audioUrl"]),
    }),
    example: { text: "Bonjour, je vous appelle au sujet de votre annonce." },
  },
};
