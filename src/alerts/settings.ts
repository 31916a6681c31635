import { z } from "zod";

/** When somebody is told without Prometheus, and where. */
export const ALERT_ENV = {
  ALERT_WEBHOOK_URL: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe(
      "Where to tell people that something is wrong, and that it is over: an incoming webhook of Slack, or what takes its format (docs/operations.md). Without it nobody is told",
    ),
  ALERT_INTERVAL_MS: z.coerce
    .number()
    .int()
    .min(100)
    .max(3_600_000)
    .default(15_000)
    .describe("How often it is looked whether something is wrong"),
  ALERT_STUCK_SECONDS: z.coerce
    .number()
    .int()
    .min(1)
    .max(86_400)
    .default(120)
    .describe("Somebody is told when work has waited for so long and none was done"),
  ALERT_FAILURE_RATIO: z.coerce
    .number()
    .min(0.01)
    .max(1)
    .default(0.5)
    .describe("Somebody is told when such a share of a provider's calls within five minutes has failed"),
  ALERT_FAILURE_MINIMUM: z.coerce
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(20)
    .describe("Of fewer calls the share that fails says nothing"),
  ALERT_UNKNOWN: z.coerce
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(1)
    .describe("Somebody is told when there are so many messages of which nobody knows whether they were sent"),
  ALERT_SESSION_SECONDS: z.coerce
    .number()
    .int()
    .min(1)
    .max(86_400)
    .default(300)
    .describe(
      "Somebody is told when a WhatsApp number has been away for so long; of one that was logged out or banned at once",
    ),
  ALERT_CREDITS_BELOW: z.coerce
    .number()
    .int()
    .min(0)
    .max(1_000_000_000)
    .default(0)
    .describe("Somebody is told of an account's balance on a channel below it; 0: of none"),
} satisfies z.ZodRawShape;

export interface AlertThresholds {
  stuckSeconds: number;
  failureRatio: number;
  failureMinimum: number;
  unknown: number;
  sessionSeconds: number;
  creditsBelow: number;
}

export interface AlertSettings extends AlertThresholds {
  url: string | undefined;
  intervalMs: number;
}

export const alertSettings = (env: z.output<z.ZodObject<typeof ALERT_ENV>>): AlertSettings => ({
  url: env.ALERT_WEBHOOK_URL,
  intervalMs: env.ALERT_INTERVAL_MS,
  stuckSeconds: env.ALERT_STUCK_SECONDS,
  failureRatio: env.ALERT_FAILURE_RATIO,
  failureMinimum: env.ALERT_FAILURE_MINIMUM,
  unknown: env.ALERT_UNKNOWN,
  sessionSeconds: env.ALERT_SESSION_SECONDS,
  creditsBelow: env.ALERT_CREDITS_BELOW,
});
