import { countSegments } from "./segments.ts";

/** What decomposing a character (NFKD) does not lead to GSM-7. */
const LIKENESS: Readonly<Record<string, string>> = {
  "’": "'",
  "‘": "'",
  "‚": "'",
  "‛": "'",
  ʼ: "'",
  "´": "'",
  "`": "'",
  "′": "'",
  "“": '"',
  "”": '"',
  "„": '"',
  "«": '"',
  "»": '"',
  "″": '"',
  "‹": "'",
  "›": "'",
  "‐": "-",
  "‑": "-",
  "‒": "-",
  "–": "-",
  "—": "-",
  "―": "-",
  "−": "-",
  "•": "-",
  "·": "-",
  "…": "...",
  "×": "x",
  "÷": "/",
  œ: "oe",
  Œ: "OE",
  ł: "l",
  Ł: "L",
  đ: "d",
  Đ: "D",
  "©": "(c)",
  "®": "(r)",
  "™": "(tm)",
  "⁄": "/",
  "\t": " ",
  // Blanks of fixed width, which French typography puts before ; : ! ? and within numbers.
  "\u00a0": " ",
  "\u202f": " ",
  "\u2009": " ",
  // Seen by nobody.
  "\u00ad": "",
  "\u200b": "",
  "\ufeff": "",
};

/**
 * The text with a likeness in GSM-7 for each character that would force UCS-2, which more than halves what fits into a
 * segment: `’` becomes `'`, `ê` becomes `e`. A text of which some character has none, such as an emoji, would stay UCS-2 and is
 * left as it is.
 */
export function transliterate(text: string): string {
  if (isGsm(text)) return text;
  // « n° 4 »: the degree sign stands for an o here, and for nothing in GSM-7 elsewhere.
  const plain = text.normalize("NFC").replaceAll(/\b([nN])°/g, "$1o");
  const likeness = Array.from(plain, (character) => (isGsm(character) ? character : likenessOf(character))).join("");
  return isGsm(likeness) && likeness.trim() !== "" ? likeness : text;
}

function likenessOf(character: string): string {
  const known = LIKENESS[character];
  if (known !== undefined) return known;
  return Array.from(character.normalize("NFKD"), (part) => LIKENESS[part] ?? part)
    .join("")
    .replaceAll(/\p{M}/gu, "");
}

const isGsm = (text: string): boolean => countSegments(text).encoding === "GSM-7";
