/** What people write to be left alone, in French and English. STOP is the word that French SMS notices must offer. */
const STOP_WORDS = [
  "stop",
  "stopall",
  "unsubscribe",
  "desabonner",
  "desinscription",
  "desinscrire",
  "arret",
  "arretez",
];

/**
 * Tells whether a reply is, as a whole, a wish to be left alone: one of the built-in words or of `further`. Case, accents and
 * punctuation do not matter.
 */
export function createIsStop(further: readonly string[]): (text: string) => boolean {
  const words = new Set([...STOP_WORDS, ...further.map(plain)]);
  return (text) => words.has(plain(text)) || /^stop(\s+(sms|whatsapp|\d{5}))?$/.test(plain(text));
}

/** What people write to be written to again. No word that may as well be the answer to a question, such as OUI. */
const START_WORDS = new Set(["start", "unstop", "reabonner", "reabonnement", "me reabonner", "resubscribe"]);

/** Tells whether a reply is, as a whole, a wish to take a stop back. */
export function isStart(text: string): boolean {
  return START_WORDS.has(plain(text)) || /^(start|unstop)\s+(sms|whatsapp|\d{5})$/.test(plain(text));
}

const plain = (text: string): string =>
  text
    .normalize("NFD")
    .replace(/[^\p{L}\p{N}\s]/gu, "")
    .trim()
    .replace(/\s+/g, " ")
    .toLowerCase();
