import { lawOf } from "../../core/countries.ts";

/** What a marketing SMS says of how to stop further ones, by country (ISO 3166-1); `undefined`: in all others. */
export type StopNotices = ReadonlyMap<string | undefined, string>;

/** Both in GSM-7, so that they never make a text longer than they are. */
export const DEFAULT_STOP_NOTICE = "Reply STOP to opt out.; FR=Répondez STOP pour vous désabonner.";
export const MAX_STOP_NOTICE = 160;

const ENTRY = /^(?:([A-Z]{2})\s*=\s*)?([^=]*)$/;

/**
 * Reads `SMS_STOP_NOTICE`: entries between semicolons, `FR=…` for a country and its territories, one without for all others, a
 * text of `none` for no notice. Answers what is wrong, in words, or the notices.
 */
export function readStopNotices(value: string): StopNotices | string {
  const notices = new Map<string | undefined, string>();
  for (const entry of value.split(";")) {
    const [, country, text = ""] = ENTRY.exec(entry.trim()) ?? [];
    const notice = text.trim();
    if (notice === "") return "wants texts between semicolons, such as Reply STOP to opt out.; FR=STOP au 36111";
    if (notice.length > MAX_STOP_NOTICE) return `has a text of more than ${MAX_STOP_NOTICE} characters`;
    if (notices.has(country)) return `has two texts for ${country ?? "all other countries"}`;
    notices.set(country, notice);
  }
  for (const [country, notice] of notices) if (notice.toLowerCase() === "none") notices.set(country, "");
  return notices;
}

/** For whom a notice is wanted, and in which words if the account has its own. */
export interface NoticeWanted {
  country: string | undefined;
  /** `true`: in the service's words. */
  notice: true | string;
  /** Whether an answer would reach us: a name cannot be answered. */
  answerable: boolean;
}

/** What to append to a text; undefined: nothing. */
export function noticeFor(
  text: string,
  { country, notice, answerable }: NoticeWanted,
  notices: StopNotices,
): string | undefined {
  const words = notice === true ? (notices.get(lawOf(country)) ?? notices.get(undefined) ?? "") : notice;
  if (words === "" || text.includes(words) || saysHowToStop(text)) return undefined;
  return answerable || NUMBER.test(words) ? words : undefined;
}

/** A short code or a longer number to write to. */
const NUMBER = /\d{4}/;

/** How texts say it: "STOP au 36111", "STOP SMS 36180", "répondez par STOP", "Reply STOP", "STOP pour …", "STOP to …". */
const INSTRUCTIONS = [
  /(?<![\p{L}\p{N}-])stop\s*(?:sms\s*)?(?:au|à|a|to|=|:)?\s*\d{5}\b/iu,
  /(?:répond|repond|envoy|écri|ecri|tap|retourn|reply|text|send)\p{L}*\W{1,4}(?:(?:par|avec|with)\W{1,3})?stop(?![\p{L}\p{N}])/iu,
  /(?<![\p{L}\p{N}-])STOP["»”]?\s+(?:pour|to|afin)(?![\p{L}\p{N}])/u,
  /désabonn|desabonn|désinscri|desinscri|unsubscribe|\bopt[\s-]?out\b/iu,
];

function saysHowToStop(text: string): boolean {
  return INSTRUCTIONS.some((instruction) => instruction.test(text));
}
