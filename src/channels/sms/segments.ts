import splitSms from "split-sms";

/** What a text costs as SMS. */
export interface SegmentCount {
  encoding: "GSM-7" | "UCS-2";
  /** Messages that the carrier sends, and charges. */
  segments: number;
  /** As they count against a segment: in GSM-7 `^ { } \ [ ~ ] | €` are two, in UCS-2 an emoji is two or more. */
  characters: number;
  /** What fits into each of these segments. */
  perSegment: 160 | 153 | 70 | 67;
}

/** GSM-7 without its extension: each of these is one septet. */
const BASIC = /^[\n\r -Z_a-z£¥èéùìòÇØøÅåΔΦΓΛΩΠΨΣΘΞÆæßÉ¤¡ÄÖÑÜ§¿äöñüà]{0,160}$/;

/**
 * Counts a text's segments by 3GPP TS 23.038 and 23.040: one character that GSM-7 does not have makes all of it UCS-2, a
 * long text loses seven septets or three characters of each segment to the header that joins them, and neither a
 * two-septet character nor a surrogate pair is torn apart. Twilio's own calculator counts the same (see the tests), but
 * takes 6 ms for a long text, sixty times as long, which a hunt of 100,000 contacts does not have.
 */
export function countSegments(text: string): SegmentCount {
  // Nearly all of a hunt's messages, at a fiftieth of the price.
  if (BASIC.test(text)) return { encoding: "GSM-7", segments: 1, characters: text.length, perSegment: 160 };
  const { characterSet, parts, bytes } = splitSms.split(text, { summary: true });
  const segments = parts.length;
  return characterSet === "GSM"
    ? { encoding: "GSM-7", segments, characters: bytes, perSegment: segments > 1 ? 153 : 160 }
    : { encoding: "UCS-2", segments, characters: bytes / 2, perSegment: segments > 1 ? 67 : 70 };
}
