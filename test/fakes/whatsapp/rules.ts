/**
 * What becomes of a message that a client sends.
 *
 * - `ack`: taken and acknowledged.
 * - `{ error }`: refused, for instance 463, a restriction on cold contacts.
 * - `silent`: taken, never acknowledged.
 * - `drop`: neither taken nor acknowledged.
 * - `accept-then-disconnect`, `disconnect-before`: taken or not, the connection is gone without a word.
 */
export type SendOutcome =
  | "ack"
  | { error: number }
  | "silent"
  | "drop"
  | "accept-then-disconnect"
  | "disconnect-before";

export interface SendRule {
  /** Phone number of the recipient; anybody by default. */
  to?: string;
  /** Phone number of the sender; any session by default. */
  from?: string;
  /** For how many messages the rule holds; for ever by default. */
  times?: number;
  /** How long the acknowledgement takes; none by default. */
  delayMs?: number;
  outcome: SendOutcome;
}

/** The rules of a fake in the order of their arrival: the first that fits decides. */
export class SendRules {
  #rules: SendRule[] = [];

  add(rule: SendRule): void {
    this.#rules.push({ ...rule });
  }

  clear(): void {
    this.#rules = [];
  }

  /** The rule for this message, used once by it; undefined when it is simply taken. */
  next(from: string, to: string | undefined): SendRule | undefined {
    const rule = this.#rules.find((rule) => (rule.to ?? to) === to && (rule.from ?? from) === from);
    if (rule?.times === undefined) return rule;
    rule.times -= 1;
    if (rule.times <= 0) this.#rules = this.#rules.filter((other) => other !== rule);
    return rule;
  }
}
