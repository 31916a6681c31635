import { z } from "zod";
import type { Channel } from "../channels/channel.ts";
import { contactTimingShape } from "./timing.ts";

/** Of one contact. */
export const MAX_CHANNELS = 5;

const MEDIA = "`whatsapp_image`, `_video`, `_audio`, `_document` only";

/** Documents a contact; the check itself is `readContacts` (`contacts.ts`), which a hundred thousand of them can afford. */
export const contactSchema = (channels: ReadonlyMap<string, Channel>) =>
  z.strictObject(fieldsOf(z.enum([...channels.keys()] as [string, ...string[]])));

function fieldsOf(names: z.ZodType<string>) {
  return {
    adId: z.string().min(1).max(200).describe("The advert or business, in the web app's own words"),
    recipientPhone: z
      .string()
      .min(1)
      .max(100)
      .describe("E.164, or the account's national format. A number that cannot be dialled is skipped, not refused"),
    channel: names.optional().describe("This, or `channels`"),
    channels: z
      .array(names)
      .min(1)
      .max(MAX_CHANNELS)
      .optional()
      .describe(
        "Instead of `channel`, in order: the next one is used where the one before does not reach the person, because it is " +
          "off, the account's policy never allows it, the number is not on WhatsApp, the provider refuses it for good or reports " +
          "it as not delivered (`fallbackAfterSeconds`: or not in time). `senderPhone` is for the first",
      ),
    message: z
      .string()
      .optional()
      .describe(
        "The text; for `ringless_voice` what is spoken, for pictures, videos and documents the caption. Default: what the " +
          "hunt's template says",
      ),
    variables: z
      .record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()]))
      .optional()
      .describe("For the hunt's templates, by name: up to 50, texts of up to 1000 characters"),
    consent: z
      .boolean()
      .optional()
      .describe(
        "The person has agreed to be contacted; where the account's policy wants it, whoever has not is skipped",
      ),
    senderPhone: z.string().min(1).max(100).optional().describe("Number to send from; default: the provider's"),
    audioUrl: z.url().optional().describe("`ringless_voice` only: a recording to play instead of `message`"),
    mediaUrl: z
      .url()
      .optional()
      .describe(`${MEDIA}: where the file is fetched from when it is sent: http(s), public, at most 16 MiB`),
    mediaId: z
      .uuid()
      .optional()
      .describe(`${MEDIA}: the account's upload of \`POST /api/media\` instead of \`mediaUrl\``),
    voiceNote: z.boolean().optional().describe("`whatsapp_audio` only: shown as spoken just now; wants Ogg with Opus"),
    fileName: z.string().optional().describe("`whatsapp_document` only: the name that the recipient sees"),
    latitude: z.number().min(-90).max(90).optional().describe("`whatsapp_location` only, and wanted there"),
    longitude: z.number().min(-180).max(180).optional().describe("`whatsapp_location` only, and wanted there"),
    placeName: z.string().optional().describe("`whatsapp_location` only: shown beneath the map"),
    placeAddress: z.string().optional().describe("`whatsapp_location` only: shown beneath the name"),
    contactName: z.string().optional().describe("`whatsapp_contact` only, and wanted there: the name on the card"),
    contactPhone: z.string().optional().describe("`whatsapp_contact` only, and wanted there: its number, E.164"),
    question: z.string().optional().describe("`whatsapp_poll` only, and wanted there: 1 to 255 characters"),
    options: z
      .array(z.string())
      .optional()
      .describe("`whatsapp_poll` only, and wanted there: 2 to 12 different answers of 1 to 100 characters"),
    multipleAnswers: z.boolean().optional().describe("`whatsapp_poll` only: several answers may be chosen"),
    ...contactTimingShape,
    replyTo: z.string().optional().describe("WhatsApp only: the message to quote, by our `messageId` or a reply's id"),
  };
}

export const CONTACT_FIELDS: ReadonlySet<string> = new Set(Object.keys(fieldsOf(z.string())));
