import { z } from "zod";
import type { Channel } from "../channel.ts";
import { sandboxProvider } from "../sandbox.ts";
import { type TextContent, optionalText, textContentOf, textSchema } from "../text.ts";
import { twilioProvider } from "./providers/twilio/twilio.provider.ts";

/** Twilio's limit for a body, also what Vonage and others take at most: https://www.twilio.com/docs/api/errors/21617 */
const MAX_LENGTH = 1600;

export const smsChannel: Channel<TextContent> = {
  name: "sms",
  queue: "sms",
  providerVariable: "SMS_PROVIDER",
  providers: [twilioProvider, sandboxProvider("sms")],
  content: z.strictObject({ text: textSchema(MAX_LENGTH) }),
  contentOf: ({ message }) => textContentOf(message, MAX_LENGTH),
  single: {
    path: "/api/phone/sms",
    summary: "Send one SMS",
    fields: { message: textSchema(MAX_LENGTH).describe("The text to send, 1 to 1600 characters.") },
    input: (body) => ({ message: optionalText(body["message"]) }),
    example: { message: "Bonjour, votre annonce est-elle toujours disponible ?" },
  },
};
