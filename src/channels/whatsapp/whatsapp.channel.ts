import type { Channel } from "../channel.ts";
import { textContentOf } from "../text.ts";
import { contents, type WhatsAppContents } from "./content.ts";
import { bodyText, MAX_TEXT, Reading, replyTo } from "./fields.ts";
import { audioChannel, documentChannel, imageChannel, videoChannel } from "./media.channels.ts";
import { contactChannel, locationChannel, pollChannel } from "./other.channels.ts";
import { WHATSAPP } from "./providers.ts";
import { sessionRoutes } from "./sessions.routes.ts";
import { singleSend } from "./single.ts";

type Text = WhatsAppContents["whatsapp_text"];

export const whatsappChannel: Channel<Text> = {
  ...WHATSAPP,
  name: "whatsapp_text",
  content: contents.whatsapp_text,
  routes: sessionRoutes,
  contentOf(input) {
    // Nearly all of a big hunt's contacts are this and no more.
    if (input["replyTo"] === undefined) return textContentOf(input.message, MAX_TEXT);
    const reading = new Reading(input);
    const quoted = reading.optional("replyTo", replyTo);
    return reading.result({
      text: reading.required("message", bodyText, "Give the message as text."),
      replyTo: quoted,
    });
  },
  single: singleSend({
    path: "text",
    summary: "Send one WhatsApp text",
    fields: { message: bodyText.schema.describe("The text to send, 1 to 4096 characters.") },
    example: { message: "Bonjour, votre annonce est-elle toujours disponible ?" },
  }),
};

/** Every channel of WhatsApp. */
export const whatsappChannels: readonly Channel[] = [
  whatsappChannel,
  imageChannel,
  videoChannel,
  audioChannel,
  documentChannel,
  locationChannel,
  contactChannel,
  pollChannel,
];
