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
  from: string;
  to?: string;
  text: string;
  at: number;
}

/** Where a provider delivers what comes back later. Neither rejects: the store keeps trying. */
export interface Inbound {
  receipt(receipt: Receipt): void;
  reply(reply: Reply): void;
}
