import { buffer } from "node:stream/consumers";
import type { AnyMessageContent } from "@whiskeysockets/baileys";
import { assertNever, PermanentError } from "../../../../core/errors.ts";
import type { WhatsAppMessage } from "../../content.ts";
import type { MediaReader, OpenedMedia, OpenMedia } from "../../open-media.ts";
import { opusSeconds } from "./opus.ts";
import { vcardOf } from "./vcard.ts";

/**
 * null, where undefined would have Baileys work the value out: a thumbnail by sharp or by an ffmpeg in a shell, a duration
 * and a waveform by parsers that we do not want to meet strangers' files with. null fields are left out of the message.
 */
const NONE = null as never;

/**
 * A message as Baileys takes it. Files are given as streams, never as a URL, and previews of links are off: Baileys itself
 * must fetch nothing. `replyTo` is not in it: what is quoted goes into the options of `sendMessage`.
 *
 * Throws what `openMedia` throws, and `PermanentError` `media_wrong_type` for a voice note that is not Ogg with Opus. A
 * stream in the content may still fail while Baileys reads it, with a `ProviderError` that it hands through: nothing was
 * sent then. It must be destroyed when Baileys is not called after all.
 */
export async function toBaileys(
  message: WhatsAppMessage,
  { openMedia, ...reader }: MediaReader & { openMedia: OpenMedia },
): Promise<{ content: AnyMessageContent }> {
  switch (message.channel) {
    case "whatsapp_text":
      return { content: { text: message.content.text, linkPreview: null } };
    case "whatsapp_image": {
      const { media, caption } = message.content;
      const { stream, contentType } = await openMedia(media, "image", reader);
      return { content: { image: { stream }, mimetype: contentType, jpegThumbnail: NONE, ...captioned(caption) } };
    }
    case "whatsapp_video": {
      const { media, caption } = message.content;
      const { stream, contentType } = await openMedia(media, "video", reader);
      return { content: { video: { stream }, mimetype: contentType, jpegThumbnail: NONE, ...captioned(caption) } };
    }
    case "whatsapp_audio": {
      const { media, voiceNote } = message.content;
      const opened = await openMedia(media, "audio", reader);
      return { content: voiceNote ? await voiceNoteOf(opened) : recordingOf(opened) };
    }
    case "whatsapp_document": {
      const { media, caption, fileName } = message.content;
      const opened = await openMedia(media, "document", reader);
      const { stream, contentType } = opened;
      const name = fileName ?? opened.fileName ?? `document.${EXTENSIONS[contentType] ?? "bin"}`;
      return { content: { document: { stream }, mimetype: contentType, fileName: name, ...captioned(caption) } };
    }
    case "whatsapp_location": {
      const { latitude, longitude, name, address } = message.content;
      const place = { degreesLatitude: latitude, degreesLongitude: longitude };
      return { content: { location: { ...place, ...(name && { name }), ...(address && { address }) } } };
    }
    case "whatsapp_contact": {
      const { name, phone } = message.content;
      const card = { displayName: name, vcard: vcardOf(name, phone) };
      return { content: { contacts: { displayName: name, contacts: [card] } } };
    }
    case "whatsapp_poll": {
      const { question, options, multipleAnswers } = message.content;
      // 0: as many as one likes.
      const selectableCount = multipleAnswers ? 0 : 1;
      return { content: { poll: { name: question, values: options, selectableCount } } };
    }
    default:
      return assertNever(message);
  }
}

const captioned = (caption: string | undefined) => (caption === undefined ? {} : { caption });

/** As WhatsApp's clients name it; without the codec some do not play it. */
const OPUS = "audio/ogg; codecs=opus";

function recordingOf({ stream, contentType }: OpenedMedia): AnyMessageContent {
  return { audio: { stream }, mimetype: contentType === "audio/ogg" ? OPUS : contentType, seconds: NONE };
}

/** Read whole, because the length of a voice note is shown before it is loaded, and stands at the end of the file. */
async function voiceNoteOf({ stream, contentType }: OpenedMedia): Promise<AnyMessageContent> {
  const bytes = await buffer(stream);
  const seconds = contentType === "audio/ogg" ? opusSeconds(bytes) : undefined;
  if (seconds === undefined) {
    const message = "A voice note is Ogg with Opus, and this file is something else: send it without voiceNote.";
    throw new PermanentError(message, { code: "media_wrong_type", provider: "baileys" });
  }
  const waveform = { waveform: NONE };
  return { audio: bytes, mimetype: OPUS, ptt: true, seconds, ...waveform };
}

/** For a document without a name. */
const EXTENSIONS: Readonly<Record<string, string>> = {
  "application/pdf": "pdf",
  "application/msword": "doc",
  "application/vnd.ms-excel": "xls",
  "application/vnd.ms-powerpoint": "ppt",
  "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
  "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
  "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
  "text/plain": "txt",
  "text/csv": "csv",
  "image/jpeg": "jpg",
  "image/png": "png",
  "image/webp": "webp",
  "video/mp4": "mp4",
  "video/3gpp": "3gp",
  "audio/ogg": "ogg",
  "audio/mpeg": "mp3",
  "audio/mp4": "m4a",
  "audio/aac": "aac",
  "audio/amr": "amr",
};
