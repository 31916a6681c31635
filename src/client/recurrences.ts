import type { Calls } from "./calls.ts";
import { part, queryOf } from "./paths.ts";
import type { Result } from "./result.ts";
import type {
  AcceptedRecurrence,
  CallOptions,
  NewRecurrence,
  PostOptions,
  Recurrence,
  RecurrenceChanges,
  RecurrencePage,
} from "./shapes.ts";

const RECURRENCES = "/api/recurrences";

/** Hunts that come again. */
export interface RecurrenceCalls {
  /** Has a hunt come again, by a cron pattern. Errors: `invalid_request`, `unknown_account`, `suspended_account`, `template_archived`. */
  createRecurrence(recurrence: NewRecurrence, options?: PostOptions): Promise<Result<AcceptedRecurrence>>;
  /** Errors: `not_found`. */
  recurrence(accountId: string, recurrenceId: string, options?: CallOptions): Promise<Result<Recurrence>>;
  /** One page of the account's recurrences, by id. Errors: `invalid_request`. */
  recurrences(
    filter: { accountId: string; cursor?: string | undefined; limit?: number | undefined } & CallOptions,
  ): Promise<Result<RecurrencePage>>;
  /** Begins no more runs (`pause`), or goes on with the next one (`resume`); either may be said again. Errors: `not_found`. */
  steerRecurrence(
    accountId: string,
    recurrenceId: string,
    action: "pause" | "resume",
    options?: CallOptions,
  ): Promise<Result<Recurrence>>;
  /**
   * Changes when it comes, what it says or to whom; counts for the runs from now on, and may be said again. Errors: `invalid_request`,
   * `not_found`, `template_archived`.
   */
  changeRecurrence(
    accountId: string,
    recurrenceId: string,
    changes: RecurrenceChanges,
    options?: CallOptions,
  ): Promise<Result<Recurrence>>;
  /** Ends it for good; hunts that have begun go on. Errors: `not_found`. */
  deleteRecurrence(
    accountId: string,
    recurrenceId: string,
    options?: CallOptions,
  ): Promise<Result<{ recurrenceId: string }>>;
}

export function recurrenceCalls({ call, get, post }: Calls): RecurrenceCalls {
  return {
    createRecurrence: (recurrence, options) => post(RECURRENCES, recurrence, options),
    recurrence: (accountId, recurrenceId, options) =>
      get(`${RECURRENCES}/${part(recurrenceId)}${queryOf({ accountId })}`, options),
    recurrences: ({ signal, ...filter }) => get(`${RECURRENCES}${queryOf(filter)}`, { signal }),
    steerRecurrence: (accountId, recurrenceId, action, { signal } = {}) =>
      call({ method: "POST", path: `${RECURRENCES}/${part(recurrenceId)}/${action}${queryOf({ accountId })}`, signal }),
    changeRecurrence: (accountId, recurrenceId, changes, { signal } = {}) =>
      call({
        method: "PATCH",
        path: `${RECURRENCES}/${part(recurrenceId)}${queryOf({ accountId })}`,
        body: changes,
        signal,
      }),
    deleteRecurrence: (accountId, recurrenceId, { signal } = {}) =>
      call({ method: "DELETE", path: `${RECURRENCES}/${part(recurrenceId)}${queryOf({ accountId })}`, signal }),
  };
}
