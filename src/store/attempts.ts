import type { Cap } from "../core/rules.ts";
import { UnavailableError } from "../core/errors.ts";
import { Batcher } from "./batcher.ts";
import { MESSAGES, type Batches } from "./batches.ts";
import { DatabaseError, type Database } from "./database.ts";
import type { MessageStatus } from "./messages.ts";

/** The answer to "may this message be sent now?"; `supabase/migrations/…_attempting.sql` says what each means. */
export type Verdict =
  /** recipient: the ledger's, which is the one that was checked; a job's copy is only a copy. */
  | { verdict: "go"; recipient: string; attempts: number }
  | { verdict: "wait"; retryInMs: number }
  | { verdict: "reconcile"; recipient: string; attemptId: string; attempts: number; startedAt: number }
  /** Its hunt is paused: it is fed again when the hunt goes on. */
  | { verdict: "paused" }
  | { verdict: "skipped"; code: string }
  | { verdict: "settled"; status: MessageStatus; code: string | undefined }
  | { verdict: "missing" };

export interface NewAttempt {
  messageId: string;
  attemptId: string;
  provider: string;
  /** For how long nobody else may touch the message, milliseconds. */
  holdMs: number;
  /** Not before that time has passed, milliseconds, and why: it waits, unless there is another reason to end it. */
  opensInMs?: number | undefined;
  why?: string | undefined;
  /** It waits for something else than its sender's turn: others of its flow may go meanwhile. */
  putOff?: boolean | undefined;
  /** Counted in the transaction that begins the attempt. */
  caps?: readonly Cap[] | undefined;
}

/**
 * What an attempt came to. `not_sent` is proven and puts the message back in the queue; `ambiguous` keeps it in
 * `sending`, to be reconciled when `holdMs` have passed.
 */
export interface Outcome {
  messageId: string;
  /** Absent: the message never came as far as an attempt, and has failed or is skipped. */
  attemptId: string | undefined;
  /** The claim under which somebody else's attempt was cleared up. */
  claim: string | undefined;
  result: "sent" | "failed" | "skipped" | "unknown" | "not_sent" | "ambiguous";
  code: string | undefined;
  /** In words, without personal data. */
  detail: string | undefined;
  provider: string | undefined;
  providerMessageId: string | undefined;
  /** The recipient asked the carrier never to be contacted again. */
  suppress: boolean;
  /** For `failed`: the provider has refused it for good, so that its contact is tried over the next channel. */
  refused?: boolean | undefined;
  /** For `ambiguous`: from when on the provider can be asked, milliseconds. */
  holdMs?: number;
}

/** One attempt at a time, and each outcome once: both wait for a database that is away. */
export interface AttemptStore {
  beginAttempt(attempt: NewAttempt): Promise<Verdict>;
  /** Resolves once committed: whether it changed anything. */
  recordOutcome(outcome: Outcome): Promise<boolean>;
  /** The greatest epoch that was seen anywhere: a database behind it is refused, then taken over as restored. */
  observeEpoch(epoch: number): void;
  nextEpoch(): Promise<number>;
}

interface Attempts {
  readonly store: AttemptStore;
  /** What is on its way. */
  readonly batchers: readonly Pick<Batcher<never, never>, "drained" | "close">[];
}

/** `onRestored`: told when the database turned out to be a restored backup: so many messages became `unknown`. */
export function createAttempts(
  { rpc }: Pick<Database, "rpc">,
  { waitFor }: Batches,
  onRestored: (messages: number) => void,
): Attempts {
  let epoch = 0;
  /** A database that was restored from a backup: what it believes to be open becomes unknown, then work goes on. */
  const adoptRestored = async (): Promise<void> => {
    const doubted = await rpc<number | null>("adopt_epoch", { p_epoch: epoch });
    if (doubted !== null) onRestored(doubted);
  };
  const adopt = async (error: unknown): Promise<never> => {
    if (!(error instanceof DatabaseError) || error.code !== "AP001") throw error;
    await adoptRestored();
    throw new UnavailableError("database", "The database was restored from a backup.", error);
  };

  const begins = new Batcher<NewAttempt, Verdict>({
    flush: async (attempts) => {
      // Two that ask for one message at once may be two workers: within a call they would both be told to go.
      const first = new Map(attempts.toReversed().map((attempt) => [attempt.messageId, attempt]));
      const rows = await rpc<VerdictRow[]>("begin_attempts", {
        p_items: [...first.values()].map(toAttemptRow),
        p_epoch: epoch,
      }).catch(adopt);
      const byId = new Map(rows.map((row) => [row.id, row]));
      return attempts.map((attempt) => {
        const verdict = toVerdict(byId.get(attempt.messageId));
        const taken = first.get(attempt.messageId) !== attempt && /^(go|reconcile)$/.test(verdict.verdict);
        return taken ? { verdict: "wait", retryInMs: attempt.holdMs } : verdict;
      });
    },
    ...MESSAGES,
    ...waitFor("begin_attempts"),
  });
  const outcomes = new Batcher<Outcome, boolean>({
    flush: async (items) => {
      const applied = new Set(await rpc<string[]>("record_outcomes", { p_items: items.map(toOutcomeRow) }));
      return items.map(({ messageId }) => applied.has(messageId));
    },
    ...MESSAGES,
    ...waitFor("record_outcomes"),
  });

  const store: AttemptStore = {
    beginAttempt: (attempt) => begins.add(attempt),
    recordOutcome: (outcome) => outcomes.add(outcome),
    observeEpoch(seen) {
      epoch = Math.max(epoch, seen);
    },
    async nextEpoch() {
      // While no attempt begins (a paused queue), it would count past what was seen, and nobody would ever know.
      await adoptRestored();
      return rpc("next_epoch");
    },
  };
  return { store, batchers: [begins, outcomes] };
}

interface VerdictRow {
  id: string;
  verdict: Verdict["verdict"];
  status: MessageStatus;
  code: string | null;
  recipient: string;
  attempt_id: string;
  attempts: number;
  started_at: string;
  retry_in_ms: number;
}

function toVerdict(row: VerdictRow | undefined): Verdict {
  switch (row?.verdict) {
    case "go":
      return { verdict: "go", recipient: row.recipient, attempts: row.attempts };
    case "wait":
      return { verdict: "wait", retryInMs: row.retry_in_ms };
    case "reconcile":
      return {
        verdict: "reconcile",
        recipient: row.recipient,
        attemptId: row.attempt_id,
        attempts: row.attempts,
        startedAt: Date.parse(row.started_at),
      };
    case "paused":
      return { verdict: "paused" };
    case "skipped":
      return { verdict: "skipped", code: row.code ?? "skipped" };
    case "settled":
      return { verdict: "settled", status: row.status, code: row.code ?? undefined };
    default:
      return { verdict: "missing" };
  }
}

const toAttemptRow = ({ messageId, attemptId, holdMs, opensInMs, putOff, ...rest }: NewAttempt): object => ({
  id: messageId,
  attempt_id: attemptId,
  hold_ms: holdMs,
  opens_in_ms: opensInMs,
  put_off: putOff,
  ...rest,
});

const toOutcomeRow = ({ messageId, attemptId, providerMessageId, holdMs, ...rest }: Outcome): object => ({
  id: messageId,
  attempt_id: attemptId,
  provider_message_id: providerMessageId,
  hold_ms: holdMs,
  ...rest,
});
