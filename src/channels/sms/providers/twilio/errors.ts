import type { Vendor } from "../../../providers/vendor-errors.ts";
import { pageOf } from "../../../twilio/error-codes.ts";
import { TWILIO_CODES } from "./error-codes.ts";

export const NAME = "twilio";

/**
 * "An API request that receives an error 429 response is never processed and is always safe to retry"
 * (https://www.twilio.com/docs/api/errors/20429); https://www.twilio.com/docs/api/errors/20500 warns that retrying a POST
 * that was answered with another 5xx can send twice.
 */
export const TWILIO: Vendor = { name: NAME, title: "Twilio", codes: TWILIO_CODES, page: pageOf };
