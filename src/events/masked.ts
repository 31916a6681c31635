import { beginningOf } from "../core/text.ts";

const MAX_LENGTH = 200;

/**
 * The beginning of an endpoint's answer, to be kept in a log: at most 200 characters, on one line, without what looks like an
 * address, a phone number or a secret.
 */
export function masked(text: string): string {
  const shown = text
    .slice(0, 4 * MAX_LENGTH)
    .toWellFormed()
    .replaceAll(/[\p{Cc}\p{Cf}\s]+/gu, " ")
    .replaceAll(/[^\s@"'<>]+@[^\s@"'<>]+/g, "[address]")
    .replaceAll(/[\w+/=~-]{24,}/g, "[secret]")
    .replaceAll(/\+?\d(?:[ ().-]{0,2}\d){6,}/g, "[number]")
    .trim();
  return beginningOf(shown, MAX_LENGTH).trimEnd();
}
