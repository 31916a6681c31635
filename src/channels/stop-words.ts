/** What people write to be left alone, in French and English. STOP is the word that French SMS notices must offer. */
const STOP_WORDS = new Set(["stop", "stopall", "unsubscribe", "desabonner", "desinscription", "desinscrire"]);

/** Whether a reply is, as a whole, a wish to be left alone. Case, accents and punctuation do not matter. */
export function isStop(text: string): boolean {
  const plain = text
    .normalize("NFD")
    .replace(/[^\p{L}\p{N}\s]/gu, "")
    .trim()
    .toLowerCase();
  return STOP_WORDS.has(plain) || /^stop(\s+(sms|\d{5}))?$/.test(plain);
}
