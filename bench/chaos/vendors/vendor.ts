import type { TwilioAnswer } from "../../../test/fakes/twilio/fake-twilio.ts";

/** How a double answers what is sent through it from now on, whichever vendor it stands for. */
export type Answer = Exclude<TwilioAnswer, { kind: "error" }> | { kind: "error"; status: number; retryAfterS?: number };

/** What a vendor has told us of a message: the last is how it ended. */
export type Reported = "sent" | "delivered" | "failed";

/** One message that a vendor took. Whoever is in here twice was contacted twice. */
export interface Accepted {
  /** E.164. */
  to: string;
  attemptId: string;
  /** What of its reports was answered with a 2xx: from then on the ledger has to know it. */
  told: { status: Reported; at: number }[];
  /** For a call that a machine took: what it recorded. */
  heard?: string;
  /** When that was over, milliseconds since the epoch. */
  heardAt?: number;
  /** When it first asked what to leave, milliseconds since the epoch. */
  askedAt?: number;
  /** The address of the process of ours that said so; none: nobody did. */
  by?: string | undefined;
  /** Whether any process of ours answered during the call, the fallback included. */
  reached?: boolean;
}

/** Something that a person wrote back, which was answered with a 2xx. */
export interface Replied {
  provider: string;
  id: string;
  from: string;
  stop: boolean;
  at: number;
}

/** One of the fakes under `test/fakes`, as the harness wants all of them. */
export interface Vendor extends AsyncDisposable {
  readonly url: string;
  behave(answer: Answer): void;
  accepted(): Accepted[];
}
