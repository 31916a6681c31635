import { z } from "zod";
import * as field from "./fields.ts";

/** Where a file is: at a URL of the caller's, or uploaded before by the same account. */
export type MediaSource = z.output<typeof media>;

const media = z.union([
  z.strictObject({ url: field.mediaUrl.schema }),
  z.strictObject({ mediaId: field.mediaId.schema }),
]);

/** The message that is quoted: one of ours by its id, or an inbound reply by WhatsApp's. */
const replyTo = field.replyTo.schema.optional();
const caption = field.caption.schema.optional();

/** What a job of each channel carries. */
export const contents = {
  whatsapp_text: z.strictObject({ text: field.bodyText.schema, replyTo }),
  whatsapp_image: z.strictObject({ media, caption, replyTo }),
  whatsapp_video: z.strictObject({ media, caption, replyTo }),
  whatsapp_audio: z.strictObject({ media, voiceNote: field.voiceNote.schema.optional(), replyTo }),
  whatsapp_document: z.strictObject({ media, caption, fileName: field.fileName.schema.optional(), replyTo }),
  whatsapp_location: z.strictObject({
    latitude: field.latitude.schema,
    longitude: field.longitude.schema,
    name: field.placeName.schema.optional(),
    address: field.placeAddress.schema.optional(),
    replyTo,
  }),
  whatsapp_contact: z.strictObject({
    name: field.contactName.schema,
    /** E.164. */
    phone: field.contactPhone.schema,
    replyTo,
  }),
  whatsapp_poll: z.strictObject({
    question: field.question.schema,
    options: field.options.schema,
    multipleAnswers: field.multipleAnswers.schema.optional(),
    replyTo,
  }),
};

export type WhatsAppContents = { [Name in keyof typeof contents]: z.output<(typeof contents)[Name]> };

/** A channel's name with its content, to tell them apart by. */
export type WhatsAppMessage = {
  [Name in keyof WhatsAppContents]: { channel: Name; content: WhatsAppContents[Name] };
}[keyof WhatsAppContents];
