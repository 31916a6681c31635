import type { VoiceContent } from "../../content.ts";

export interface SpokenIn {
  /** `Polly.Lea`: https://www.twilio.com/docs/voice/twiml/say/text-speech */
  voice: string;
  /** `fr-FR` */
  language: string;
}

/**
 * What one `<Say>` takes: 3000 bytes with Polly, and 4500 characters once URL-encoded, where each accent counts six
 * (https://www.twilio.com/docs/api/errors/13521). A longer text is spoken by several in a row.
 */
const MAX_BYTES = 2_900;
const MAX_ENCODED = 4_300;

export const HANG_UP = document("<Hangup/>");

/** Speaks or plays the message, then hangs up. */
export function leave(content: VoiceContent, { voice, language }: SpokenIn): string {
  if ("audioUrl" in content) return document(`<Play>${escaped(content.audioUrl)}</Play><Hangup/>`);
  const says = piecesOf(content.text).map(
    (piece) => `<Say voice="${escaped(voice)}" language="${escaped(language)}">${escaped(piece)}</Say>`,
  );
  return document(`${says.join("")}<Hangup/>`);
}

/** Comes back for the message in a moment. */
export function waitFor(url: string, seconds: number): string {
  return document(`<Pause length="${seconds}"/><Redirect method="POST">${escaped(url)}</Redirect>`);
}

function document(verbs: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?><Response>${verbs}</Response>`;
}

/** Everything outside XML's character range (https://www.w3.org/TR/xml/#charsets) cannot even be escaped. */
const NOT_XML = /[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/gu;
const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&apos;",
};

function escaped(text: string): string {
  return text.replaceAll(NOT_XML, " ").replaceAll(/[&<>"']/g, (character) => ENTITIES[character]!);
}

/** Cut between sentences if possible, else between words, else between characters. */
export function piecesOf(text: string): string[] {
  const pieces: string[] = [];
  let current = "";
  const add = (part: string, cutFurther: (part: string) => string[]): void => {
    if (fits(current + part)) {
      current += part;
      return;
    }
    if (current.trim() !== "") pieces.push(current.trim());
    current = "";
    if (fits(part)) current = part;
    else for (const smaller of cutFurther(part)) add(smaller, (rest) => Array.from(rest));
  };
  for (const sentence of text.toWellFormed().split(/(?<=[.!?…\n])(?=\s)/u)) {
    add(sentence, (part) => part.split(/(?<=\s)/u));
  }
  if (current.trim() !== "") pieces.push(current.trim());
  return pieces;
}

function fits(text: string): boolean {
  return Buffer.byteLength(text) <= MAX_BYTES && encodeURIComponent(text).length <= MAX_ENCODED;
}
