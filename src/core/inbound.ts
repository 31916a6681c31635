/** A delivery report. `providerMessageId` is the one that `send` returned. */
export interface Receipt {
  provider: string;
  providerMessageId: string;
  /** `sent`: no more than that the provider has accepted it. */
  status: "sent" | "delivered" | "read" | "failed";
  /** The attempt that it reports on, where the provider knows: proof that this very attempt was accepted. */
  attempt?: { messageId: string; attemptId: string };
  /** For `failed`: why, as the provider says it. */
  code?: string;
  /**
   * For `delivered` with an `attempt`: it holds only if the provider was answered what to leave. The code with which it has
   * failed if the provider never asked; where nobody can tell, it is no more than `sent`.
   */
  unlessInstructed?: string;
  /** For `failed`: the recipient has asked never to be contacted again. */
  suppress?: boolean;
  /** What the provider counted and charged, where it says so. */
  segments?: number;
  /** A decimal number, and its currency by ISO 4217. */
  price?: { amount: string; currency: string };
  /** Milliseconds since the epoch. */
  at: number;
}

/** What a message has cost, and took. */
export type Charge = Pick<Receipt, "segments"> & Required<Pick<Receipt, "price">>;

/** Something that a recipient wrote back. */
export interface Reply {
  provider: string;
  /** The message that it answers, where the provider knows. */
  providerMessageId?: string;
  /** The provider's own id of the reply: one that comes again is stored once. */
  replyId?: string;
  /** Whose sender it was written to, where the provider knows. */
  accountId?: string;
  from: string;
  /** Other numbers of the same person, as far as the provider knows. */
  aliases?: string[];
  to?: string;
  text: string;
  /** The provider has already taken it for a wish to be left alone. */
  stop?: boolean;
  at: number;
}

/** During an attempt's call a provider asks what to leave: `asked` is known before it is answered, `answered` after. */
export interface Instructions {
  attemptId: string;
  step: "asked" | "answered";
}

/** What is found out in the course of an attempt's call, each in a job of its own; its end is to count after all of them. */
export const CALL_JOBS = ["asked", "answered", "failed"] as const;
export type CallJob = (typeof CALL_JOBS)[number];
export const callJobId = (what: CallJob, attemptId: string): string => `${what}-${attemptId}`;

/** What a vendor's webhook brings. */
export type InboundEvent =
  | ({ kind: "receipt" } & Receipt)
  | ({ kind: "reply" } & Reply)
  | ({ kind: "instructions" } & Instructions);

/** Where a provider delivers what comes back later. Neither rejects: the store keeps trying. */
export interface Inbound {
  /** Resolves once it is stored, or refused for good; false: the service ended before that. */
  receipt(receipt: Receipt): Promise<boolean>;
  /** Resolves once it is stored: whether it is this person's first stop, which is to be confirmed once. */
  reply(reply: Reply): Promise<{ firstStop: boolean }>;
}
