import type { Calls } from "./calls.ts";
import { part, queryOf } from "./paths.ts";
import type { Result } from "./result.ts";
import type {
  CallOptions,
  Erased,
  FilePage,
  ImportedSuppressions,
  NewSuppression,
  Suppression,
  SuppressionPage,
  SuppressionsOptions,
} from "./shapes.ts";

const SUPPRESSIONS = "/api/suppressions";

/** Who must not be contacted, and who is forgotten. */
export interface SuppressionCalls {
  /** From now on nothing is sent to that number. Errors: `invalid_request`, `unknown_account`. */
  suppress(entry: NewSuppression, options?: CallOptions): Promise<Result<Suppression>>;
  /** One page of who must not be contacted. Errors: `invalid_request`. */
  suppressions(options?: SuppressionsOptions): Promise<Result<SuppressionPage>>;
  /** Takes an account's entry, or without an account the one for everybody, off the list. Errors: `not_found`. */
  unsuppress(
    entry: { phone: string; accountId?: string | undefined },
    options?: CallOptions,
  ): Promise<Result<{ accountId: string | null; phone: string }>>;
  /** Puts the numbers of a CSV file with a column `phone` on the list; good lines are taken. Errors: `invalid_request`. */
  importSuppressions(
    csv: string | Uint8Array,
    options?: CallOptions & { accountId?: string | undefined },
  ): Promise<Result<ImportedSuppressions>>;
  /** The list as a CSV file, page by page. */
  exportSuppressions(options?: SuppressionsOptions): Promise<Result<FilePage>>;
  /** Forgets a person, for every account. Errors: `invalid_request`, `erasure_off`. */
  erasePerson(phone: string, options?: CallOptions): Promise<Result<Erased>>;
}

export function suppressionCalls({ call, get }: Calls): SuppressionCalls {
  return {
    suppress: (entry, { signal } = {}) => call({ method: "POST", path: SUPPRESSIONS, body: entry, signal }),
    suppressions: ({ signal, ...filter } = {}) => get(`${SUPPRESSIONS}${queryOf(filter)}`, { signal }),
    unsuppress: (entry, { signal } = {}) =>
      call({ method: "DELETE", path: `${SUPPRESSIONS}${queryOf(entry)}`, signal }),
    importSuppressions(csv, { signal, ...filter } = {}) {
      const file = { data: typeof csv === "string" ? new TextEncoder().encode(csv) : csv, contentType: "text/csv" };
      return call({ method: "POST", path: `${SUPPRESSIONS}/import${queryOf(filter)}`, file, signal });
    },
    exportSuppressions: ({ signal, ...filter } = {}) =>
      call({ method: "GET", path: `${SUPPRESSIONS}/export${queryOf(filter)}`, signal, asFile: true }),
    erasePerson: (phone, { signal } = {}) => call({ method: "DELETE", path: `/api/contacts/${part(phone)}`, signal }),
  };
}
