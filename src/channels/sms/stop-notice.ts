import { lawOf } from "../../core/countries.ts";

/** What a marketing SMS says of how to stop further ones, by country (ISO 3166-1); `undefined`: in all others. */
export type StopNotices = ReadonlyMap<string | undefined, string>;

/** Both in GSM-7, so that they never make a text longer than they are. */
export const DEFAULT_STOP_NOTICE = "Reply STOP to opt out.; FR=Répondez STOP pour vous désabonner.";
const MAX_STOP_NOTICE = 160;

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

/** What is put at a text's end, if anything; or, in words, why it cannot say what it has to. */
export interface Notice {
  notice?: string;
  fault?: string;
}

/** How a text is to say how to stop; nothing where it says so already, or where the words are empty. */
export function noticeFor(text: string, wanted: NoticeWanted, notices: StopNotices): Notice {
  const { country, notice, answerable } = wanted;
  const words = notice === true ? (notices.get(lawOf(country)) ?? notices.get(undefined) ?? "") : notice;
  if (words === "" || saysHowToStop(text, answerable)) return {};
  if (!answerable && !NUMBER.test(words)) return { fault: NO_WAY_TO_STOP };
  return holds(text, words) ? {} : { notice: words };
}

/** Where a name may not send a text that does not say itself how to stop: countries, `other` for all others. */
export function closedToNames(
  notices: StopNotices,
  stopNoticeOf: (country: string | undefined) => true | string | undefined,
): string[] {
  // Countries with a marketing policy of their own, and those with words of their own.
  const countries = new Set([...COUNTRIES_WITH_POLICY, ...notices.keys(), undefined]);
  return [...countries].flatMap((country) => {
    const notice = stopNoticeOf(country);
    const closed = notice !== undefined && noticeFor("", { country, notice, answerable: false }, notices).fault;
    return closed ? [country ?? "other"] : [];
  });
}

const COUNTRIES_WITH_POLICY = ["FR", "US"];

const NO_WAY_TO_STOP =
  "There is no way to stop: nobody can answer a sender that is a name. Name a short code in SMS_STOP_NOTICE or in the policy's stopNotice, or send from a number.";

/** A short code or a longer number to write to. */
const NUMBER = /\d{4}/;

/** Whether these very words stand in the text, as words of their own. */
function holds(text: string, words: string): boolean {
  const exactly = words.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  return new RegExp(String.raw`(?<![\p{L}\p{N}])${exactly}(?![\p{L}\p{N}])`, "u").test(text);
}

/*
 * How texts say it. STOP is a word of advertising as well ("Soldes NON STOP", "stop aux frais", "stop 75011 Paris"), and a
 * second notice does less harm than none: what is not clearly an instruction is none.
 */
const STOP = String.raw`(?<![\p{L}\p{N}-]|\bnon\s)stop`;
const CLAUSE_ENDS = String.raw`(?=\s*(?:$|[.,;:!)\n]))`;
const WHAT_FOR = String.raw`(?=\s+(?:(?:pour|afin|par|sms|si|to|if)(?!\p{L})|au\s+\d|à\s+ce))`;
const SAY =
  "répondez|répondre|réponds|repondez|repondre|r?envoyez|envoyer|envoie|tapez|taper|tape|écrivez|écrire|ecrivez|ecrire|retournez|retourner";
const UNSUBSCRIBE = String.raw`(?<!\p{L})(?:pour\s+(?:(?:vous|me|se)\s+)?d[ée]s(?:abonner|inscrire)|d[ée]s(?:abonnement|inscription)\s*:|to\s+(?:unsubscribe|opt[\s-]?out)|unsubscribe\s*:)(?!\p{L})`;

const any = (...patterns: string[]): RegExp[] => patterns.map((pattern) => new RegExp(pattern, "iu"));

/** What anybody can follow. French short codes begin with 3, but so do prices and the codes of towns. */
const FOR_ALL = any(
  // "STOP au 36111", "STOP SMS au 36 180"
  String.raw`${STOP}\s*(?:(?:par\s+)?sms|pub)?\s*au\s*3\d\s?\d{3}(?![\p{L}\p{N}]|\s*(?:€|%|eur|k[m€]|m[²2]))`,
  // "STOP 36111", "STOP SMS : 36180"
  String.raw`${STOP}\s*(?:(?:par\s+)?sms|pub)?\s*[:=]?\s*3\d{4}${CLAUSE_ENDS}`,
  // "Désinscription : https://…"
  String.raw`${UNSUBSCRIBE}[^\n]{0,60}?(?:https?:|www\.|@|\p{L}\.\p{L}{2,6}\/|\d{5})`,
);
/** What asks for an answer. */
const IN_ANSWER = any(
  // "répondez par « STOP »", "Reply STOP to end"
  String.raw`(?<!\p{L})(?:(?:${SAY})\s*:?\s*(?:(?:par|avec)\s+)?|(?:reply|text|send)\s+(?:with\s+)?)["«“'‘]?\s*${STOP}\s*["»”'’]?(?:${CLAUSE_ENDS}|${WHAT_FOR})`,
  // "STOP pour ne plus recevoir", "STOP to opt out"
  String.raw`${STOP}["»”]?\s+(?:(?:pour|afin\s+de)\s+(?:(?:vous|me|se)\s+dés|ne\s+plus\s+(?:rien\s+)?(?:recevoir|être))|to\s+(?:opt|unsub))`,
  UNSUBSCRIBE,
);

function saysHowToStop(text: string, answerable: boolean): boolean {
  return [...FOR_ALL, ...(answerable ? IN_ANSWER : [])].some((instruction) => instruction.test(text));
}
