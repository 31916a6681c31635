import type { SessionStore } from "../../../../store/sessions.ts";

const REMEMBERED = 10_000;

/** To whom sessions have written before. The ledger knows; what it has said is remembered in this process. */
export class Contacted {
  readonly #store: Pick<SessionStore, "hasContacted" | "forgetContact">;
  readonly #known = new Set<string>();

  constructor(store: Pick<SessionStore, "hasContacted" | "forgetContact">) {
    this.#store = store;
  }

  /** Without asking the ledger. */
  isKnown(sessionId: string, phone: string): boolean {
    return this.#known.has(keyOf(sessionId, phone));
  }

  /** Rejects with `UnavailableError`. */
  async has(sessionId: string, phone: string): Promise<boolean> {
    if (this.isKnown(sessionId, phone)) return true;
    const known = await this.#store.hasContacted(sessionId, phone);
    if (known) this.note(sessionId, phone);
    return known;
  }

  note(sessionId: string, phone: string): void {
    if (this.#known.size >= REMEMBERED) this.#known.clear();
    this.#known.add(keyOf(sessionId, phone));
  }

  /** A first contact was refused, and has to be made once more. Rejects with `UnavailableError`. */
  async forget(sessionId: string, phone: string): Promise<void> {
    this.#known.delete(keyOf(sessionId, phone));
    await this.#store.forgetContact(sessionId, phone);
  }
}

const keyOf = (sessionId: string, phone: string): string => `${sessionId} ${phone}`;
