import { parsePhone } from "../../core/phone.ts";
import type { Channel } from "../channel.ts";
import { contents, type WhatsAppContents } from "./content.ts";
import * as field from "./fields.ts";
import { WHATSAPP } from "./providers.ts";
import { singleSend } from "./single.ts";

export const locationChannel: Channel<WhatsAppContents["whatsapp_location"]> = {
  ...WHATSAPP,
  name: "whatsapp_location",
  content: contents.whatsapp_location,
  contentOf(input) {
    const reading = new field.Reading(input);
    return reading.result({
      latitude: reading.required("latitude", field.latitude, "Give the latitude."),
      longitude: reading.required("longitude", field.longitude, "Give the longitude."),
      name: reading.optional("placeName", field.placeName),
      address: reading.optional("placeAddress", field.placeAddress),
      replyTo: reading.optional("replyTo", field.replyTo),
    });
  },
  single: singleSend({
    path: "location",
    summary: "Send one place on the map over WhatsApp",
    fields: {
      latitude: field.latitude.schema.describe("Degrees north"),
      longitude: field.longitude.schema.describe("Degrees east"),
      placeName: field.placeName.schema.optional().describe("Shown beneath the map"),
      placeAddress: field.placeAddress.schema.optional().describe("Shown beneath the name"),
    },
    example: { latitude: 48.8584, longitude: 2.2945, placeName: "Agence du Champ-de-Mars" },
  }),
};

export const contactChannel: Channel<WhatsAppContents["whatsapp_contact"]> = {
  ...WHATSAPP,
  name: "whatsapp_contact",
  content: contents.whatsapp_contact,
  contentOf(input) {
    const reading = new field.Reading(input);
    const name = reading.required("contactName", field.contactName, "Give the name of the contact to share.");
    const given = reading.required("contactPhone", field.contactPhone, "Give the number of the contact to share.");
    const phone = typeof given === "string" ? parsePhone(given, "FR") : undefined;
    return reading.result({
      name,
      phone: phone?.ok ? phone.e164 : given,
      replyTo: reading.optional("replyTo", field.replyTo),
    });
  },
  single: singleSend({
    path: "contact",
    summary: "Share one contact over WhatsApp",
    fields: {
      contactName: field.contactName.schema.describe("The name on the card, 1 to 100 characters"),
      contactPhone: field.contactPhone.schema.describe("The number on the card, E.164"),
    },
    example: { contactName: "Agence du Champ-de-Mars", contactPhone: "+33145678901" },
  }),
};

export const pollChannel: Channel<WhatsAppContents["whatsapp_poll"]> = {
  ...WHATSAPP,
  name: "whatsapp_poll",
  content: contents.whatsapp_poll,
  contentOf(input) {
    const reading = new field.Reading(input);
    return reading.result({
      question: reading.required("question", field.question, "Give the question."),
      options: reading.required("options", field.options, "Give the options to choose from."),
      multipleAnswers: reading.optional("multipleAnswers", field.multipleAnswers),
      replyTo: reading.optional("replyTo", field.replyTo),
    });
  },
  single: singleSend({
    path: "poll",
    summary: "Ask one question with options over WhatsApp",
    fields: {
      question: field.question.schema.describe("1 to 255 characters"),
      options: field.options.schema.describe("2 to 12 different answers of 1 to 100 characters"),
      multipleAnswers: field.multipleAnswers.schema
        .optional()
        .describe("Whether several answers may be chosen; default: false"),
    },
    example: { question: "Quand pouvons-nous vous appeler ?", options: ["Le matin", "L'après-midi", "Le soir"] },
  }),
};
