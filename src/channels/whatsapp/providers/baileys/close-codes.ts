/** How a connection ended. `code` is WhatsApp's, or Baileys' own for a connection that broke. */
export interface Closing {
  code: number;
  words: string;
}

/** What a session does about it. */
export type Reaction =
  /** Part of the protocol, as after pairing. */
  | { do: "reconnect" }
  /** Wait, longer each time. `atLeastMs`: but no less than that. */
  | { do: "back-off"; atLeastMs: number }
  /** Ask WhatsApp which version it wants, and try once more. */
  | { do: "refresh-version" }
  /** It is over until a person does something; `wipe`: the keys are worth nothing any more. */
  | { do: "end"; state: "logged-out" | "banned" | "stopped"; wipe: boolean; words: string };

/** So many replacements in `REPLACED_WITHIN_MS`: two clients fight for the session, and one has to give way. */
const REPLACED_OFTEN = 5;
const REPLACED_WITHIN_MS = 30_000;
const REPLACED_WAIT_MS = 30_000;

/** What to do about each way in which a connection can end; remembers what came before. */
export class Reactions {
  readonly #now: () => number;
  #replaced: number[] = [];
  #refreshed = false;

  /** @param now a clock in milliseconds that never jumps. */
  constructor(now: () => number) {
    this.#now = now;
  }

  opened(): void {
    this.#refreshed = false;
  }

  to({ code, words }: Closing): Reaction {
    switch (code) {
      case 515:
        return { do: "reconnect" };
      case 401:
        return end("logged-out", true, "The phone has unlinked this device. Pair it again.");
      case 411:
        return end("logged-out", true, "WhatsApp does not accept this pairing any more. Pair it again.");
      case 402:
      case 403:
      case 406:
        return end(
          "banned",
          false,
          `WhatsApp has blocked this number (${code}). Look at it on the phone before pairing it again.`,
        );
      case 405: {
        if (this.#refreshed) {
          return end("stopped", false, "WhatsApp refuses this version of the client (405). Set WHATSAPP_VERSION.");
        }
        this.#refreshed = true;
        return { do: "refresh-version" };
      }
      case 440: {
        const now = this.#now();
        this.#replaced = [...this.#replaced.filter((at) => now - at < REPLACED_WITHIN_MS), now];
        return { do: "back-off", atLeastMs: this.#replaced.length >= REPLACED_OFTEN ? REPLACED_WAIT_MS : 0 };
      }
      case 408:
        if (!/QR refs/i.test(words)) return { do: "back-off", atLeastMs: 0 };
        return end("stopped", true, "Nobody scanned the code in time. Start pairing again.");
      // 428, 500, 503 and whatever is not known: the keys stay, WhatsApp or the network will be back.
      default:
        return { do: "back-off", atLeastMs: 0 };
    }
  }
}

function end(state: "logged-out" | "banned" | "stopped", wipe: boolean, words: string): Reaction {
  return { do: "end", state, wipe, words };
}

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 60_000;

/** Before the n-th try in a row (n from 1), milliseconds: doubled each time up to a minute, and uneven. */
export function backOffMs(tries: number, random: () => number = Math.random): number {
  const full = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (tries - 1));
  return full / 2 + (random() * full) / 2;
}
