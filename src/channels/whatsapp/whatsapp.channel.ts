import { z } from "zod";
import type { Channel } from "../channel.ts";
import { sandboxProvider } from "../sandbox.ts";
import { type TextContent, optionalText, textContentOf, textSchema } from "../text.ts";

/**
 * The Cloud API's limit for `text.body`: https://developers.facebook.com/docs/whatsapp/cloud-api/messages/text-messages
 * (also https://developers.sinch.com/docs/conversation/message-types/text-message). WhatsApp's own clients send longer
 * texts, but a message must not depend on which of our providers carries it.
 */
const MAX_LENGTH = 4096;

export const whatsappChannel: Channel<TextContent> = {
  name: "whatsapp_text",
  queue: "whatsapp",
  providerVariable: "WHATSAPP_PROVIDER",
  providers: [sandboxProvider("whatsapp_text")],
  content: z.strictObject({ text: textSchema(MAX_LENGTH) }),
  contentOf: ({ message }) => textContentOf(message, MAX_LENGTH),
  single: {
    path: "/api/whatsapp/text",
    summary: "Send one WhatsApp text",
    fields: { message: textSchema(MAX_LENGTH).describe("The text to send, 1 to 4096 characters.") },
    input: (body) => ({ message: optionalText(body["message"]) }),
    example: { message: "Bonjour, votre annonce est-elle toujours disponible ?" },
  },
};
