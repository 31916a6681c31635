import { z } from "zod";
import type { Channel, ChannelSettings } from "../channel.ts";
import { sandboxProvider } from "../sandbox.ts";
import { optionalText, textContentOf, textSchema } from "../text.ts";
import type { SmsContent } from "./content.ts";
import { previewRoute } from "./preview.routes.ts";
import { twilioProvider } from "./providers/twilio/twilio.provider.ts";
import { vonageProvider } from "./providers/vonage/vonage.provider.ts";
import { countSegments } from "./segments.ts";
import { transliterate } from "./transliterate.ts";

/** Twilio's limit for a body: https://www.twilio.com/docs/api/errors/21617 */
const MAX_LENGTH = 1600;

const env = {
  SMS_MAX_SEGMENTS: z.coerce
    .number()
    .int()
    .min(1)
    .max(25)
    .default(11)
    .describe("Segments that an SMS may take, each of which is charged; 11 hold 1600 characters of GSM-7"),
  SMS_TRANSLITERATE: z
    .stringbool()
    .default(false)
    .describe(
      "`true` replaces the characters of an SMS that GSM-7 does not have by their likeness (’ by ', ê by e) where that makes all of it GSM-7, which takes less than half the segments",
    ),
};

const settings: ChannelSettings<typeof env> = {
  env,
  apply({ SMS_MAX_SEGMENTS: maxSegments, SMS_TRANSLITERATE: toGsm }) {
    /** The text as it is sent: whatever else is to stand in it belongs here, so that it is counted. */
    const prepare = (text: string): string => {
      const likeness = toGsm ? transliterate(text) : text;
      // `…` becomes three characters.
      return likeness.length > MAX_LENGTH ? text : likeness;
    };
    return {
      contentOf({ message }) {
        const given = textContentOf(message, MAX_LENGTH);
        if ("faults" in given) return given;
        const text = prepare(given.content.text);
        const { encoding, segments } = countSegments(text);
        const content: SmsContent = { text, segments };
        if (segments <= maxSegments) return { content };
        const detail = `The message takes ${segments} segments of ${encoding}; at most ${maxSegments} are allowed.`;
        return { faults: [{ pointer: "/message", detail }] };
      },
      routes: () => [previewRoute({ prepare, maxSegments, maxLength: MAX_LENGTH })],
    };
  },
};

export const smsChannel: Channel<SmsContent> = {
  name: "sms",
  queue: "sms",
  providerVariable: "SMS_PROVIDER",
  providers: [twilioProvider, vonageProvider, sandboxProvider("sms")],
  settings,
  content: z.strictObject({ text: textSchema(MAX_LENGTH), segments: z.int().positive().exactOptional() }),
  contentOf: ({ message }) => textContentOf(message, MAX_LENGTH),
  single: {
    path: "/api/phone/sms",
    summary: "Send one SMS",
    fields: { message: textSchema(MAX_LENGTH).describe("The text to send, 1 to 1600 characters.") },
    input: (body) => ({ message: optionalText(body["message"]) }),
    example: { message: "Bonjour, votre annonce est-elle toujours disponible ?" },
  },
};
