import { type CountryCode, getCountries, getCountryCallingCode, parsePhoneNumberFromString } from "libphonenumber-js";

export type ParsedPhone =
  | { ok: true; e164: string; country: CountryCode }
  | { ok: false; reason: "invalid_number"; detail: string };

function refused(detail: string): ParsedPhone {
  return { ok: false, reason: "invalid_number", detail };
}

/** `extract: false`: the whole text must be the number, or "call 0612345678" would be taken for one. */
function parse(text: string, defaultCountry: CountryCode) {
  const phone = parsePhoneNumberFromString(text, { defaultCountry, extract: false });
  return phone?.isValid() ? phone : undefined;
}

/**
 * A person's number in E.164, out of any common way of writing it: `+33…`, `0033…`, or national with `defaultCountry`.
 *
 * Validity is libphonenumber's `isValid` on its small ("min") metadata: length and leading digits per country. Its
 * `isPossible` looks only at the length and lets `+33 0…` through, which no network can dial; the full metadata also
 * refuses ranges that it has not heard of yet (it knows no French 070 to 072), and a prospect refused in error is
 * lost, while a dead number costs one failed send. Refused as well: extensions (no channel can dial them) and numbers
 * of no country (+800), for which quiet hours cannot be told.
 *
 * About 4 µs a number on one core of the build machine; nothing is remembered between calls.
 */
export function parsePhone(raw: string, defaultCountry: CountryCode): ParsedPhone {
  const text = raw.trim();
  if (text === "") return refused("The number is empty.");
  // 00 is how most of the world dials abroad, yet the library knows only the default country's own prefix (011 in the US).
  const phone =
    parse(text, defaultCountry) ?? (text.startsWith("00") ? parse(`+${text.slice(2)}`, defaultCountry) : undefined);
  if (phone === undefined) {
    return refused(
      `Not a number that can be dialled, neither with a country code nor as a national number of ${defaultCountry}.`,
    );
  }
  if (phone.ext !== undefined) return refused("An extension cannot be dialled; give the direct number.");
  if (phone.country === undefined) return refused("The number belongs to no country.");
  return { ok: true, e164: phone.number, country: phone.country };
}

const SHORT_CODE = /^\d{1,6}$/;

/**
 * One spelling of a sender, so that one number is not several: E.164 where it is a number as `parsePhone` takes it, or is with a `+`, as
 * Vonage leaves it out; another one without what sets its digits apart; names and short codes (up to six digits) as they are.
 */
export function senderOf(raw: string, defaultCountry: CountryCode): string {
  const text = raw.trim();
  if (/\p{L}/u.test(text)) return text;
  const digits = text.replace(/[\s().-]/g, "");
  if (SHORT_CODE.test(digits)) return digits;
  for (const number of [text, `+${digits}`]) {
    const phone = parsePhone(number, defaultCountry);
    if (phone.ok) return phone.e164;
  }
  return digits || text;
}

/**
 * Why a sender in this spelling would be nobody's: a number without a country code that the country does not have. undefined: it is
 * somebody's as far as can be told.
 */
export function senderFault(raw: string, defaultCountry: CountryCode): string | undefined {
  const sender = senderOf(raw, defaultCountry);
  const isNational = /^\d{7,}$/.test(sender) && !sender.startsWith("00");
  return isNational ? `is no number of ${defaultCountry}; write it with + and its country code` : undefined;
}

/** Calling codes of one and two digits (ITU-T E.164, annex); all others have three. */
const SHORT_CALLING_CODE = /^\+(?:[17]|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58])/;

const callingCodeOf = (e164: string): string => SHORT_CALLING_CODE.exec(e164)?.[0] ?? e164.slice(0, 4);

/** An E.164 number for logs: country code and last two digits, `+33*******78`. */
export function maskPhone(e164: string): string {
  const shown = callingCodeOf(e164).length;
  return e164.slice(0, shown) + "*".repeat(Math.max(0, e164.length - shown - 2)) + e164.slice(-2);
}

let onlyCountry: Map<string, CountryCode | undefined> | undefined;

/** The country of an E.164 number that `parsePhone` has let through (ISO 3166-1); undefined where there is none. */
export function countryOf(e164: string): CountryCode | undefined {
  onlyCountry ??= countriesByCallingCode();
  // Parsing takes ten times as long, and is only needed where several countries share a calling code.
  return onlyCountry.get(callingCodeOf(e164)) ?? parsePhoneNumberFromString(e164)?.country;
}

/** Calling codes, `+33`, with their country; undefined where it is not the only one. */
function countriesByCallingCode(): Map<string, CountryCode | undefined> {
  const byCode = new Map<string, CountryCode | undefined>();
  for (const country of getCountries()) {
    const code = `+${getCountryCallingCode(country)}`;
    byCode.set(code, byCode.has(code) ? undefined : country);
  }
  return byCode;
}
