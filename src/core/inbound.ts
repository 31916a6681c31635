/** A delivery report. `providerMessageId` is the one that `send` returned. */
export interface Receipt {
  provider: string;
  providerMessageId: string;
  status: "delivered" | "read" | "failed";
  /** For `failed`: why, as the provider says it. */
  code?: string;
  /** Milliseconds since the epoch. */
  at: number;
}

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
  at: number;
}

/** Where a provider delivers what comes back later. Neither rejects: the store keeps trying. */
export interface Inbound {
  receipt(receipt: Receipt): void;
  /** Resolves once it is stored: whether it is this person's first stop, which is to be confirmed once. */
  reply(reply: Reply): Promise<{ firstStop: boolean }>;
}
