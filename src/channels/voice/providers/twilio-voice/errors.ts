import type { ProviderError } from "../../../../core/errors.ts";
import { vendorError, type Failure, type Vendor } from "../../../sms/providers/vendor-errors.ts";
import { TWILIO_VOICE_CODES } from "./error-codes.ts";

export const NAME = "twilio-voice";

const TWILIO: Vendor = {
  name: NAME,
  prefix: "twilio",
  title: "Twilio",
  codes: TWILIO_VOICE_CODES,
  page: (code) => `https://www.twilio.com/docs/api/errors/${code}`,
};

/** Any failure as an error of our taxonomy. `cause` must already be free of numbers and texts (see `redacted`). */
export const twilioVoiceError = (failure: Failure, cause: unknown): ProviderError =>
  vendorError(TWILIO, failure, cause);
