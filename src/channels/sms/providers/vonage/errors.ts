import type { ProviderError } from "../../../../core/errors.ts";
import { vendorError, type Failure, type Vendor } from "../../../providers/vendor-errors.ts";
import { VONAGE_CODES } from "./error-codes.ts";

export const NAME = "vonage";

const VONAGE: Vendor = {
  name: NAME,
  title: "Vonage",
  codes: VONAGE_CODES,
  page: (code) => `https://developer.vonage.com/api-errors/messages#${code}`,
};

/** Any failure as an error of our taxonomy. `cause` must already be free of numbers and texts (see `redacted`). */
export const vonageError = (failure: Failure, cause: unknown): ProviderError => vendorError(VONAGE, failure, cause);

/**
 * The code of a problem (RFC 7807) as Vonage writes it, in an answer or a receipt: at the end of its `type`, or as its
 * `title`. Undefined for one that has only a name, such as `low-balance`.
 */
export function codeOf(problem: unknown): number | undefined {
  if (typeof problem !== "object" || problem === null) return undefined;
  const { type, title } = problem as { type?: unknown; title?: unknown };
  const code = /#(\d{3,5})$/.exec(String(type))?.[1] ?? /^\d{3,5}$/.exec(String(title))?.[0];
  return code === undefined ? undefined : Number(code);
}
