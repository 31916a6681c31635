import type { Fault } from "../../core/problem.ts";
import type { Channel } from "../channel.ts";
import { contents, type MediaSource, type WhatsAppContents } from "./content.ts";
import * as field from "./fields.ts";
import { WHATSAPP } from "./providers.ts";
import { singleSend } from "./single.ts";

const EITHER = "Give a mediaUrl or a mediaId.";
const NOT_BOTH = "Give mediaUrl or mediaId, not both.";

const sourceFields = {
  mediaUrl: field.mediaUrl.schema
    .optional()
    .describe("Where the file is fetched from when it is sent: http(s), public, at most 16 MiB; or give mediaId."),
  mediaId: field.mediaId.schema
    .optional()
    .describe("The file, as `POST /api/media` answered for the same account; or give mediaUrl."),
};
const caption = { message: field.caption.schema.optional().describe("The caption, at most 1024 characters.") };

function sourceOf(reading: field.Reading): MediaSource {
  const url = reading.optional("mediaUrl", field.mediaUrl);
  const mediaId = reading.optional("mediaId", field.mediaId);
  if (url === undefined && mediaId === undefined) reading.fault("mediaUrl", EITHER);
  if (url !== undefined && mediaId !== undefined) reading.fault("mediaUrl", NOT_BOTH);
  return url === undefined ? { mediaId: mediaId as string } : { url };
}

/** Of a single send: which account's uploads are meant is said beside the content. */
function check({ mediaUrl, mediaId, accountId }: Record<string, unknown>): Fault[] {
  const faults: Fault[] = [];
  if ((mediaUrl === undefined) === (mediaId === undefined)) {
    faults.push({ pointer: "/mediaUrl", detail: mediaUrl === undefined ? EITHER : NOT_BOTH });
  }
  if (mediaId !== undefined && accountId === undefined) {
    faults.push({ pointer: "/accountId", detail: "An upload is an account's own: say whose mediaId it is." });
  }
  return faults;
}

export const imageChannel: Channel<WhatsAppContents["whatsapp_image"]> = {
  ...WHATSAPP,
  name: "whatsapp_image",
  content: contents.whatsapp_image,
  contentOf: captioned,
  single: singleSend({
    path: "image",
    summary: "Send one picture over WhatsApp",
    fields: { ...sourceFields, ...caption },
    check,
    example: { mediaUrl: "https://cdn.example.com/maison.jpg", message: "La façade, côté jardin" },
  }),
};

export const videoChannel: Channel<WhatsAppContents["whatsapp_video"]> = {
  ...WHATSAPP,
  name: "whatsapp_video",
  content: contents.whatsapp_video,
  contentOf: captioned,
  single: singleSend({
    path: "video",
    summary: "Send one video over WhatsApp",
    fields: { ...sourceFields, ...caption },
    check,
    example: { mediaUrl: "https://cdn.example.com/visite.mp4", message: "La visite en une minute" },
  }),
};

export const audioChannel: Channel<WhatsAppContents["whatsapp_audio"]> = {
  ...WHATSAPP,
  name: "whatsapp_audio",
  content: contents.whatsapp_audio,
  contentOf(input) {
    const reading = new field.Reading(input);
    return reading.result({
      media: sourceOf(reading),
      voiceNote: reading.optional("voiceNote", field.voiceNote),
      replyTo: reading.optional("replyTo", field.replyTo),
    });
  },
  single: singleSend({
    path: "audio",
    summary: "Send one recording or voice note over WhatsApp",
    fields: {
      ...sourceFields,
      voiceNote: field.voiceNote.schema
        .optional()
        .describe("true: shown as spoken just now, which wants Ogg with Opus. Default: false, an audio file"),
    },
    check,
    example: { mediaUrl: "https://cdn.example.com/bonjour.ogg", voiceNote: true },
  }),
};

export const documentChannel: Channel<WhatsAppContents["whatsapp_document"]> = {
  ...WHATSAPP,
  name: "whatsapp_document",
  content: contents.whatsapp_document,
  contentOf(input) {
    const reading = new field.Reading(input);
    return reading.result({
      media: sourceOf(reading),
      caption: reading.optional("message", field.caption),
      fileName: reading.optional("fileName", field.fileName),
      replyTo: reading.optional("replyTo", field.replyTo),
    });
  },
  single: singleSend({
    path: "document",
    summary: "Send one document over WhatsApp",
    fields: {
      ...sourceFields,
      ...caption,
      fileName: field.fileName.schema
        .optional()
        .describe("The name that the recipient sees; default: the upload's, or `document` with the type's ending"),
    },
    check,
    example: { mediaUrl: "https://cdn.example.com/estimation.pdf", fileName: "Estimation.pdf" },
  }),
};

function captioned(input: Parameters<Channel["contentOf"]>[0]) {
  const reading = new field.Reading(input);
  return reading.result({
    media: sourceOf(reading),
    caption: reading.optional("message", field.caption),
    replyTo: reading.optional("replyTo", field.replyTo),
  });
}
