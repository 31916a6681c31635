import { UnavailableError } from "../core/errors.ts";
import type { Idempotency } from "../core/route.ts";
import type { Account } from "./accounts.ts";
import type { Acceptance } from "./answers.ts";
import { Batcher, type BatcherOptions } from "./batcher.ts";
import type { Database } from "./database.ts";
import type { PlannedMessage } from "./messages.ts";

/** What a single send is to be, for its account as it is: undefined where none is named, or there is none. */
export type PlanSingle<R> = (account: Account | undefined) => Promise<{ message: PlannedMessage; response: R }>;

/** Single messages that callers ask for. */
export interface SingleSendStore {
  /**
   * Writes a single message's ledger row; `response` is what the same `Idempotency-Key` will get again. `plan` is asked for the
   * message, and asked again when its account is otherwise than it was told: what is written, or refused, holds for the account as
   * it is now. Rejects with what `plan` rejects with.
   */
  acceptMessage<R>(
    accountId: string | undefined,
    plan: PlanSingle<R>,
    idempotency: Idempotency | undefined,
  ): Promise<Acceptance<R> & { message: PlannedMessage }>;
}

export const ACCOUNT_COLUMNS = "id, status, default_country, policy, consent_declared, account_stamp";

export interface AccountRow {
  id: string;
  status: "active" | "suspended";
  default_country: string;
  policy: unknown;
  consent_declared: boolean;
  account_stamp: string;
}

type Answer = Acceptance<never> | { result: "stale"; account: AccountRow | null };

interface SingleSends {
  readonly store: SingleSendStore;
  readonly batcher: Pick<Batcher<object, Answer>, "drained" | "close">;
}

interface SingleSendsDeps {
  database: Database;
  toMessageRow(message: PlannedMessage): object;
  toAccount(row: AccountRow): Account;
  /** undefined when there is no such account. Rejects with `UnavailableError`. */
  readAccount(id: string): Promise<AccountRow | undefined>;
  batches: Omit<BatcherOptions<object, Answer>, "flush">;
}

const MAX_KNOWN = 1000;
/** An account that changes so often between two looks within one request is being played with. */
const MAX_LOOKS = 5;

/**
 * Accepts single messages, many callers' in one call. Accounts are looked up once and then remembered: the call that writes a message
 * says for which account it was made (its stamp), so that one that has changed is found out there, and not by a look beforehand.
 */
export function createSingleSends({
  database,
  toMessageRow,
  toAccount,
  readAccount,
  batches,
}: SingleSendsDeps): SingleSends {
  const batcher = new Batcher<object, Answer>({
    flush: (items) => database.rpcRaw("accept_messages", { p_items: items }),
    ...batches,
  });
  const known = new Map<string, AccountRow>();
  const remember = (id: string, row: AccountRow | undefined): AccountRow | undefined => {
    known.delete(id);
    if (row) known.set(id, row);
    if (known.size > MAX_KNOWN) known.delete(known.keys().next().value ?? "");
    return row;
  };
  const read = async (id: string): Promise<AccountRow | undefined> => remember(id, await readAccount(id));

  return {
    batcher,
    store: {
      async acceptMessage<R>(
        accountId: string | undefined,
        plan: PlanSingle<R>,
        idempotency: Idempotency | undefined,
      ): Promise<Acceptance<R> & { message: PlannedMessage }> {
        let row = accountId === undefined ? undefined : known.get(accountId);
        let isFresh = accountId === undefined;
        for (let look = 0; look < MAX_LOOKS; look++) {
          if (!row && !isFresh) {
            row = await read(accountId!);
            isFresh = true;
          }
          let planned: Awaited<ReturnType<typeof plan>>;
          try {
            planned = await plan(row && toAccount(row));
          } catch (error) {
            // What is refused is refused for the account as it is now.
            if (isFresh) throw error;
            row = undefined;
            continue;
          }
          const { message, response } = planned;
          const answer = await batcher.add({
            row: toMessageRow(message),
            // For others with the same key; without one, nobody asks for it again.
            ...(idempotency && { response, idempotency }),
            account_stamp: row?.account_stamp ?? "",
          });
          if (answer.result === "accepted") return { result: "accepted", response, message };
          if (answer.result !== "stale") return { ...(answer as Acceptance<R>), message };
          row = remember(accountId!, answer.account ?? undefined);
          isFresh = true;
        }
        throw new UnavailableError("database", "The account keeps changing.");
      },
    },
  };
}
