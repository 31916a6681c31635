import type { Vendor } from "../../../providers/vendor-errors.ts";
import { pageOf } from "../../../twilio/error-codes.ts";
import { TWILIO_VOICE_CODES } from "./error-codes.ts";

export const NAME = "twilio-voice";

export const TWILIO_VOICE: Vendor = {
  name: NAME,
  prefix: "twilio",
  title: "Twilio",
  codes: TWILIO_VOICE_CODES,
  page: pageOf,
};
