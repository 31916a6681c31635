import { z } from "zod";
import type { Fault } from "../../../core/problem.ts";
import type { Pace } from "../../provider.ts";

const perSecond = () => z.coerce.number().min(0.01).max(1000);

/** How fast each sender of an SMS provider may send. */
export const rateEnv = {
  SMS_RATE_MAX: perSecond()
    .optional()
    .describe("SMS a second that each sender sends at most; default: 10 at Twilio, 30 at Vonage (docs/sms.md)"),
  SMS_RATE_MIN: perSecond()
    .default(0.2)
    .describe("SMS a second that a sender still sends after any number of refusals for going too fast"),
  SMS_RATE_STEP: perSecond().default(0.2).describe("What a sender's rate grows by for each second of accepted SMS"),
  SMS_RATE_CUT: z.coerce
    .number()
    .min(0.1)
    .max(0.95)
    .default(0.5)
    .describe("What a sender's rate is multiplied by when a provider refuses an SMS for going too fast"),
};

type Values = z.output<z.ZodObject<typeof rateEnv>>;

export function rateFaults({ SMS_RATE_MIN: min, SMS_RATE_MAX: max }: Values): Fault[] {
  if (max === undefined || min <= max) return [];
  return [{ pointer: "SMS_RATE_MIN", detail: `Greater than SMS_RATE_MAX, which is ${max}.` }];
}

/** @param usual messages a second that the vendor takes, unless told otherwise. */
export function paceOf(values: Values, usual: number, senderOf: Pace["senderOf"]): Pace {
  const max = values.SMS_RATE_MAX ?? Math.max(usual, values.SMS_RATE_MIN);
  return { max, min: values.SMS_RATE_MIN, step: values.SMS_RATE_STEP, cut: values.SMS_RATE_CUT, senderOf };
}
