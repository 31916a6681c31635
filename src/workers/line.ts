import type { Provider } from "../channels/provider.ts";
import { SHORT_WAIT_MS } from "../channels/failover.ts";
import type { Admitted } from "./admission.ts";

/**
 * Who carries a message in this run of its job: the first in line, of several, who has not proven that it did not accept it.
 * Without a choice of providers the line is one long.
 */
export class Line {
  readonly #carrier: Provider;
  readonly #to: string;
  readonly #admit: (provider: Provider, patienceMs: number) => Promise<Admitted>;
  readonly #tried: string[] = [];
  #provider: Provider;

  /**
   * @param to E.164.
   * @param admit whether a provider takes it now; it may wait so many milliseconds for its turn.
   */
  constructor(carrier: Provider, to: string, admit: (provider: Provider, patienceMs: number) => Promise<Admitted>) {
    this.#carrier = carrier;
    this.#to = to;
    this.#admit = admit;
    this.#provider = carrier.choice?.next(to, []) ?? carrier;
  }

  /** The carrier itself while none of its choice may be asked. */
  get provider(): Provider {
    return this.#provider;
  }

  /** Who would have it after this one. */
  get next(): Provider | undefined {
    return this.#carrier.choice?.next(this.#to, this.#passed());
  }

  /** This one has proven that it did not accept it. */
  pass(to: Provider): void {
    this.#tried.push(this.#provider.name);
    this.#provider = to;
  }

  /** Settles who sends it: the first in line whose vendor does not want to hear nothing from its sender for long. */
  async settle(): Promise<Admitted> {
    const { choice } = this.#carrier;
    for (let soonestMs = Infinity; ;) {
      const other = this.next;
      const patienceMs = other ? SHORT_WAIT_MS : Infinity;
      const answer = await this.#admit(this.#provider, patienceMs);
      if (answer.verdict === "go") return answer;
      if (answer.verdict === "skip") {
        // What one cannot carry another may, also one that is held or out now.
        if (!other) {
          if (soonestMs < Infinity) return { verdict: "later", delayMs: soonestMs, heldMs: 0 };
          const isOut = choice?.another(this.#to, this.#passed()) === true;
          return isOut ? { verdict: "later", delayMs: choice.retryAfterMs, heldMs: 0 } : answer;
        }
        this.pass(other);
        continue;
      }
      soonestMs = Math.min(soonestMs, answer.delayMs);
      if (!other || answer.heldMs <= patienceMs) return { ...answer, delayMs: soonestMs };
      this.pass(other);
    }
  }

  #passed(): string[] {
    return [...this.#tried, this.#provider.name];
  }
}
