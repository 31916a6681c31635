import type { Channel } from "../channel.ts";
import { sandboxProvider } from "../sandbox.ts";
import { optionalText, textSchema } from "../text.ts";
import { twilioVoiceProvider } from "./providers/twilio-voice/twilio-voice.provider.ts";
import { voicePartnerProvider } from "./providers/voicepartner/voicepartner.provider.ts";
import {
  audioUrlSchema,
  contentOf,
  MAX_TEXT_LENGTH,
  VOICE_QUEUE,
  type VoiceContent,
  voiceContentSchema,
} from "./content.ts";

export const voiceChannel: Channel<VoiceContent> = {
  name: "ringless_voice",
  queue: VOICE_QUEUE,
  providerVariable: "VOICE_PROVIDER",
  providers: [twilioVoiceProvider, voicePartnerProvider, sandboxProvider("ringless_voice")],
  content: voiceContentSchema,
  contentOf,
  single: {
    path: "/api/phone/ringless-voice",
    summary: "Leave one ringless voicemail",
    fields: {
      text: textSchema(MAX_TEXT_LENGTH)
        .optional()
        .describe("The text to speak, 1 to 3000 characters; or give audioUrl."),
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
