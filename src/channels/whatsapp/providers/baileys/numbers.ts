import type { WASocket } from "@whiskeysockets/baileys";
import type { Clock } from "../../../../core/clock.ts";
import type { NumberStore } from "../../../../store/sessions.ts";
import { askedTogether } from "./asked-together.ts";
import { Patience } from "./patience.ts";

/** Where a number is reached; jid undefined: it is not on WhatsApp. */
export interface Reached {
  jid: string | undefined;
}

const DAY_MS = 86_400_000;
/** A number seldom leaves WhatsApp, and somebody may join it any day. */
const FRESH_MS = { there: 30 * DAY_MS, absent: DAY_MS };
const REMEMBERED = 5000;

/**
 * Which numbers are on WhatsApp. It is asked once, because asking about many strangers is what spammers do, and its
 * answer is the address to write to: a number has not always the digits that people dial (Brazil, Mexico, Argentina).
 */
export class Numbers {
  readonly #store: NumberStore;
  readonly #now: () => number;
  readonly #known = new Map<string, Reached & { until: number }>();
  readonly #patience: Patience;
  readonly #asked = askedTogether((phones: string[], sock) => this.#patience.ask(() => reachedAt(phones, sock)));

  constructor(store: NumberStore, clock: Clock) {
    this.#store = store;
    this.#now = () => clock.now();
    this.#patience = new Patience(() => clock.monotonic());
  }

  /** Until WhatsApp may be asked again after it has refused, milliseconds; 0: now. */
  get waitMs(): number {
    return this.#patience.waitMs;
  }

  /** Rejects when neither the database nor WhatsApp tells, with `TooSoonError` where it was not asked. */
  async find(phone: string, sock: WASocket): Promise<Reached> {
    const remembered = this.#known.get(phone);
    if (remembered && remembered.until > this.#now()) return remembered;
    const stored = await this.#store.number(phone);
    if (stored) {
      const until = Date.parse(stored.checkedAt) + (stored.jid ? FRESH_MS.there : FRESH_MS.absent);
      if (until > this.#now()) return this.#remember(phone, stored.jid ?? undefined, until);
    }
    const answer = await this.#asked(phone, sock);
    if (!answer) throw new Error("WhatsApp did not say whether the number is there.");
    const { jid } = answer;
    const lid = jid ? await sock.signalRepository.lidMapping.getLIDForPN(jid).catch(() => null) : null;
    const known = { phone, jid: jid ?? null, lid: lid === null ? null : bare(lid) };
    // No message waits for it: what is lost of it is asked once more.
    this.#store.keepNumber(known).catch(() => {});
    return this.#remember(phone, jid, this.#now() + (jid ? FRESH_MS.there : FRESH_MS.absent));
  }

  /** The numbers of whoever wrote a message, the one that it came from first; none: only a LID is known of them. */
  async phonesOf({ pn, lid }: { pn: string | undefined; lid: string | undefined }, sock: WASocket): Promise<string[]> {
    const mapped = pn ?? (lid && (await sock.signalRepository.lidMapping.getPNForLID(lid).catch(() => null)));
    const jid = mapped ? bare(mapped) : undefined;
    if (jid && lid) await this.#store.keepNumber({ phone: phoneOfJid(jid), jid, lid: bare(lid) });
    const known = await this.#store.phonesOf({ jid, lid: lid && bare(lid) });
    return [...new Set([...(jid ? [phoneOfJid(jid)] : []), ...known])];
  }

  #remember(phone: string, jid: string | undefined, until: number): Reached {
    const oldest = this.#known.keys().next();
    if (this.#known.size >= REMEMBERED && !oldest.done) this.#known.delete(oldest.value);
    this.#known.set(phone, { jid, until });
    return { jid };
  }
}

/** Where numbers are reached; undefined: WhatsApp did not say. */
async function reachedAt(phones: string[], sock: WASocket): Promise<(Reached | undefined)[]> {
  const answers = await sock.onWhatsApp(...phones);
  if (!answers) return phones.map(() => undefined);
  const told = new Map(answers.map((answer) => [phoneOfJid(answer.jid), answer]));
  const all: (Reached | undefined)[] = [];
  for (const phone of phones) {
    // Under other digits it can be told whose answer it is only where there is no other.
    const own = phones.length === 1 ? answers : told.has(phone) ? [told.get(phone)] : await sock.onWhatsApp(phone);
    all.push(own && { jid: own.find((answer) => answer?.exists)?.jid });
  }
  const jids = all.flatMap((reached) => reached?.jid ?? []);
  // Of all together; Baileys remembers them.
  if (jids.length > 0) await sock.signalRepository.lidMapping.getLIDsForPNs(jids).catch(() => null);
  return all;
}

/** Without the device: `123:4@lid` is a device of `123@lid`. */
const bare = (jid: string): string => jid.replace(/:\d+@/, "@");

const phoneOfJid = (jid: string): string => `+${bare(jid).split("@")[0]}`;
