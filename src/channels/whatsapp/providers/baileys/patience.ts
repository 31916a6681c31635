import { backOffMs } from "./close-codes.ts";

const BAD_REQUEST = 400;

/** WhatsApp's code, as Baileys hands it on; undefined: it was not WhatsApp that refused. */
const codeOf = (error: unknown): number | undefined => {
  const { data } = error as { data?: unknown };
  return typeof data === "number" ? data : undefined;
};

/** It speaks against what was asked, and not against asking. */
export const isMalformed = (error: unknown): boolean => codeOf(error) === BAD_REQUEST;
const isRefusal = (error: unknown): boolean => codeOf(error) !== undefined && !isMalformed(error);

/** WhatsApp has refused a question lately: it was not asked. */
export class TooSoonError extends Error {
  override readonly name = "TooSoonError";
}

/**
 * Asks WhatsApp nothing for a while after it has refused to answer: about a second, doubled with each refusal in a row up to
 * a minute.
 */
export class Patience {
  readonly #now: () => number;
  #refusals = 0;
  #until = -Infinity;

  /** @param now a monotonic clock, milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Until it may be asked again, milliseconds; 0: now. */
  get waitMs(): number {
    return Math.max(0, this.#until - this.#now());
  }

  /** Settles as `question` does. Rejects with `TooSoonError` while it is not to be asked. */
  async ask<T>(question: () => Promise<T>): Promise<T> {
    if (this.waitMs > 0) throw new TooSoonError("WhatsApp has refused to answer just now, and is asked again later.");
    try {
      const answer = await question();
      this.#refusals = 0;
      return answer;
    } catch (error) {
      // Of several that were under way together the first counts.
      if (isRefusal(error) && this.waitMs === 0) this.#until = this.#now() + backOffMs((this.#refusals += 1));
      throw error;
    }
  }
}
