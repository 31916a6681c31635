/**
 * What people write to be left alone, in French and English. STOP is the word that French SMS notices must offer; the English
 * ones are those that nobody may overlook in the United States (47 CFR 64.1200(a)(10)).
 */
const STOP_WORDS = [
  "stopall",
  "unsubscribe",
  "quit",
  "end",
  "revoke",
  "opt out",
  "optout",
  "cancel",
  "desabonner",
  "desabonnement",
  "desinscrire",
  "desinscription",
  "arret",
  "arrete",
  "arreter",
  "arretez",
];
/** STOP, also as notices ask for it: "STOP SMS", "STOP PUB", "STOP au 36111". */
const STOP = /^stop( stop)*( (sms|pub|whatsapp))?( (au )?\d{2} ?\d{3})?$/;
/** What is said along with it. */
const AROUND = /^((me|se) (?=des)|please )| (svp|stp|merci|please|thanks|thank you|sil (vous|te) plait)$/g;

/**
 * Tells whether a reply is, as a whole, a wish to be left alone: STOP, one of the built-in words or of `further`, and a please at
 * the most. Case, accents and punctuation do not matter.
 */
export function createIsStop(further: readonly string[]): (text: string) => boolean {
  const words = new Set([...STOP_WORDS, ...further.map(plain)]);
  return (text) => {
    const reply = plain(text);
    const wish = reply.replace(AROUND, "");
    return words.has(reply) || words.has(wish) || STOP.test(wish);
  };
}

/** What people write to be written to again. No word that may as well be the answer to a question, such as OUI. */
const START_WORDS = new Set(["start", "unstop", "reabonner", "reabonnement", "me reabonner", "resubscribe"]);

/** Tells whether a reply is, as a whole, a wish to take a stop back. */
export function isStart(text: string): boolean {
  return START_WORDS.has(plain(text)) || /^(start|unstop)\s+(sms|whatsapp|\d{5})$/.test(plain(text));
}

/** An emoji by itself stays, or it would be the same as every other. */
const plain = (text: string): string =>
  text
    .normalize("NFKD")
    .replace(/[^\p{L}\p{N}\s]/gu, "")
    .trim()
    .replace(/\s+/g, " ")
    .toLowerCase() || text.trim();
