import { beginningOf } from "./text.ts";

/** Characters of a vendor's words that are kept. */
const MAX_LENGTH = 500;
/** Eight digits or more, however they are written: a person's number, or part of an account's. */
const NUMBER = /\+?\d(?:[ ().-]?\d){7,}/g;
const CREDENTIALS = /\/\/[^/\s@]+@/g;

/**
 * What a vendor says of a failure, fit to be stored, logged and shown: vendors quote numbers, addresses with credentials
 * and whole pages. One line, of what Postgres can store, without numbers and credentials.
 */
export function vendorWords(text: string): string {
  const words = text
    .slice(0, 4 * MAX_LENGTH)
    .toWellFormed()
    .replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, " ")
    .replaceAll(CREDENTIALS, "//…@")
    .replaceAll(NUMBER, (number) => `…${number.slice(-2)}`);
  return beginningOf(words, MAX_LENGTH);
}
