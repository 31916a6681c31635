import type { Clock } from "../../../../core/clock.ts";
import { ColdContacts, type ColdWait } from "./cold-contacts.ts";

export interface PaceSettings {
  /** null: as many as the gaps allow. 0: none. */
  messagesPerMinute: number | null;
  /** Between two messages: none is given to WhatsApp sooner after it has taken the one before. */
  minGapMs: number;
  maxGapMs: number;
  /** First messages to numbers that this one never wrote to, each day (UTC), once it is warm. null: no cap. */
  newContactsPerDay: number | null;
  /** Days after pairing until that cap is reached; 0: at once. See `capOfDay`. */
  warmUpDays: number;
  /** Shows "typing…" before a text. */
  typing: boolean;
}

export interface PaceOptions {
  settings: PaceSettings;
  clock: Clock;
  /** In [0, 1). */
  random?: () => number;
  /** Milliseconds since the epoch, as all moments here; null: not yet. */
  pairedAt: number | null;
  /** First contacts since `startOfDay`. */
  newContactsToday: number;
  coldPausedUntil: number | null;
}

interface Waiting {
  holdMs: number;
  go(): void;
}

const MINUTE_MS = 60_000;
/** Two after a pause, so that gaps that were longer than the rate's are made up for; never more at once. */
const BURST = 2;
/** A square of a uniform number: many short gaps and a few long ones, as people have; on average a third of the way. */
const MEAN_OF_SKEWED = 1 / 3;
const TIMER_MAX_MS = 2 ** 31 - 1;
/** About a fast writer. Above eight seconds a phone stops showing it. */
const TYPING = { msPerCharacter: 35, spread: 0.2, minMs: 1000, maxMs: 8000 };

/**
 * When one number may send, in the memory of the process that owns it. A send needs three things at once: a token of a
 * bucket that fills with `messagesPerMinute` and holds two (one after a restart), an uneven gap to the one before, and
 * not to be one too many in the last 60 seconds. The gap also follows the start, when another process may just have sent.
 * Between its turn and its departure a message is made ready, one for longer than the other: so the shortest gap counts from
 * `noteTaken` as well.
 *
 * idle ─ turn() ─▶ waiting (one timer, for the first in the queue) ─ the queue is empty ─▶ idle
 */
export class Pace {
  #settings: PaceSettings;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #queue: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;

  #tokens = 1;
  #filledAt: number;
  /** When the last send left, or will once it has been typed; monotonic, as those in `#sent`. */
  #lastAt: number;
  /** When WhatsApp had the last one, as far as it has said. */
  #takenAt = -Infinity;
  /** In [0, 1): where between the shortest and the longest the gap after it is. */
  #skew: number;
  /** Departures of the last minute, and maybe some before. */
  #sent: number[] = [];

  readonly #cold: ColdContacts;

  constructor({ settings, clock, random = Math.random, pairedAt, newContactsToday, coldPausedUntil }: PaceOptions) {
    this.#settings = settings;
    this.#clock = clock;
    this.#random = random;
    this.#filledAt = this.#lastAt = clock.monotonic();
    this.#skew = random() ** 2;
    this.#cold = new ColdContacts(clock, pairedAt, newContactsToday, coldPausedUntil);
  }

  /** Counts for whoever is waiting already. */
  update(settings: PaceSettings): void {
    this.#fill();
    this.#settings = settings;
    this.#serve();
  }

  /** It was paired (again): the warm-up begins. */
  notePaired(atMs: number): void {
    this.#cold.notePaired(atMs);
  }

  /**
   * Resolves, in the order of the calls, when the next message may go. `holdMs` is how long its sender still types: the
   * next gap counts from then. Rejects with the signal's reason, and has taken nothing then.
   */
  async turn(signal?: AbortSignal, holdMs = 0): Promise<void> {
    signal?.throwIfAborted();
    if (this.#queue.length === 0 && this.#waitMs() === 0) return this.#take(holdMs);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const giveUp = (): void => {
      this.#queue.splice(this.#queue.indexOf(waiting), 1);
      this.#serve();
      reject(signal?.reason);
    };
    const waiting: Waiting = {
      holdMs,
      go() {
        signal?.removeEventListener("abort", giveUp);
        resolve();
      },
    };
    signal?.addEventListener("abort", giveUp, { once: true });
    this.#queue.push(waiting);
    if (this.#queue.length === 1) this.#serve();
    await promise;
  }

  /** WhatsApp has taken a message, or has not said so in its time. */
  noteTaken(): void {
    this.#takenAt = this.#clock.monotonic();
  }

  /** undefined: a first contact may be made now; say so with `noteNewContact` before anything is awaited. */
  coldWait(): ColdWait | undefined {
    return this.#cold.wait(this.#settings);
  }

  noteNewContact(): void {
    this.#cold.note();
  }

  /** No first contacts before then; null: WhatsApp has lifted the restriction. */
  pauseCold(untilMs: number | null): void {
    this.#cold.pause(untilMs);
  }

  /** How long to show "typing…" for a text of so many characters: 35 ms each, a fifth more or less, 1 to 8 seconds. */
  typingMs(length: number): number {
    if (!this.#settings.typing) return 0;
    const { msPerCharacter, spread, minMs, maxMs } = TYPING;
    const ms = length * msPerCharacter * (1 - spread + 2 * spread * this.#random());
    return Math.round(Math.min(maxMs, Math.max(minMs, ms)));
  }

  /** For the session's status. */
  status(): Record<string, unknown> {
    const cap = this.#cold.capToday(this.#settings);
    const waitMs = this.#waitMs();
    const { today, pausedUntil } = this.#cold;
    return {
      ...this.#settings,
      tokens: this.#settings.messagesPerMinute === null ? null : Math.floor(this.#tokens * 100) / 100,
      waiting: this.#queue.length,
      nextSendAt: Number.isFinite(waitMs) ? new Date(this.#clock.now() + waitMs).toISOString() : null,
      newContactsToday: today,
      newContactsAllowedToday: Number.isFinite(cap) ? cap : null,
      coldPausedUntil: pausedUntil === undefined ? null : new Date(pausedUntil).toISOString(),
    };
  }

  /** Lets go whoever may, and sets the one timer for the next. */
  #serve(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (let next = this.#queue[0]; next; next = this.#queue[0]) {
      const waitMs = this.#waitMs();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.#serve(), Math.min(TIMER_MAX_MS, Math.ceil(waitMs)));
        return;
      }
      this.#queue.shift();
      this.#take(next.holdMs);
      next.go();
    }
  }

  #take(holdMs: number): void {
    this.#lastAt = this.#clock.monotonic() + holdMs;
    this.#skew = this.#random() ** 2;
    const { messagesPerMinute } = this.#settings;
    if (messagesPerMinute === null) return;
    this.#tokens -= 1;
    this.#sent.push(this.#lastAt);
    const { count } = windowOf(messagesPerMinute);
    if (this.#sent.length > 2 * count) this.#sent = this.#sent.slice(-count);
  }

  /** 0: now. Infinity: not before the settings change. */
  #waitMs(): number {
    this.#fill();
    const now = this.#clock.monotonic();
    const { messagesPerMinute: rate } = this.#settings;
    const gapAt = Math.max(this.#lastAt + this.#gapMs(), this.#takenAt + this.#settings.minGapMs);
    if (rate === null) return Math.max(0, gapAt - now);
    const tokenMs = this.#tokens > 1 - 1e-9 ? 0 : ((1 - this.#tokens) * MINUTE_MS) / rate;
    const { count, spanMs } = windowOf(rate);
    const windowAt = (this.#sent.at(-count) ?? -Infinity) + spanMs;
    return Math.max(0, gapAt - now, tokenMs, rate > 0 ? windowAt - now : Infinity);
  }

  /** A rate that is slower than the gaps stretches them: otherwise sends would fall into its even beat. */
  #gapMs(): number {
    const { minGapMs, maxGapMs, messagesPerMinute } = this.#settings;
    const range = Math.max(0, maxGapMs - minGapMs);
    const mean = minGapMs + range * MEAN_OF_SKEWED;
    const gap = minGapMs + range * this.#skew;
    return messagesPerMinute ? gap * Math.max(1, mean > 0 ? MINUTE_MS / messagesPerMinute / mean : 1) : gap;
  }

  #fill(): void {
    const now = this.#clock.monotonic();
    const { messagesPerMinute } = this.#settings;
    if (messagesPerMinute !== null) {
      this.#tokens = Math.min(BURST, this.#tokens + ((now - this.#filledAt) * messagesPerMinute) / MINUTE_MS);
    }
    this.#filledAt = now;
  }
}

/** At the most so many in so long; a rate below one a minute is one in more than a minute. */
function windowOf(messagesPerMinute: number): { count: number; spanMs: number } {
  const count = Math.max(1, Math.floor(messagesPerMinute));
  return { count, spanMs: (count / messagesPerMinute) * MINUTE_MS };
}
