import { startTwilioVoice } from "./twilio-voice.ts";
import { startTwilio } from "./twilio.ts";
import type { StartVendor } from "./postman.ts";
import { startVoicePartner } from "./voicepartner.ts";
import { startVonage } from "./vonage.ts";

/** Under their providers' names, as the ledger has them. */
export const VENDORS = {
  twilio: startTwilio,
  vonage: startVonage,
  "twilio-voice": startTwilioVoice,
  voicepartner: startVoicePartner,
} satisfies Record<string, StartVendor>;

export type VendorName = keyof typeof VENDORS;
