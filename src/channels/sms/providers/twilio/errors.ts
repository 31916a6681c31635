import type { ProviderError } from "../../../../core/errors.ts";
import { vendorError, type Failure, type Vendor } from "../vendor-errors.ts";
import { TWILIO_CODES } from "./error-codes.ts";

export { redacted, retryAfterOf, type Failure } from "../vendor-errors.ts";

export const NAME = "twilio";

/**
 * "An API request that receives an error 429 response is never processed and is always safe to retry"
 * (https://www.twilio.com/docs/api/errors/20429); https://www.twilio.com/docs/api/errors/20500 warns that retrying a POST
 * that was answered with another 5xx can send twice.
 */
const TWILIO: Vendor = {
  name: NAME,
  title: "Twilio",
  codes: TWILIO_CODES,
  page: (code) => `https://www.twilio.com/docs/api/errors/${code}`,
};

/** Any failure as an error of our taxonomy. `cause` must already be free of numbers and texts (see `redacted`). */
export const twilioError = (failure: Failure, cause: unknown): ProviderError => vendorError(TWILIO, failure, cause);
