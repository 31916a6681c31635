import { z } from "zod";
import { ALERT_ENV } from "../alerts/settings.ts";
import { limitsVariable } from "../compliance/limits.ts";
import { POLICY_NAMES } from "../compliance/policy.ts";
import { LOG_LEVELS, LOG_ROOMS, type RoomLevels } from "../core/logger.ts";
import { readRedisUrl } from "../core/redis-url.ts";
import { TRACING_ENV } from "../core/telemetry-settings.ts";
import { EVENTS_ENV } from "../events/settings.ts";

/** It goes into a header, whose error would print it. */
export const SERVICE_KEY = /^[\x21-\x7e]+$/;

const wholeNumber = (minimum: number, maximum: number) => z.coerce.number().int().min(minimum).max(maximum);

const queueConcurrency = (queue: string) =>
  wholeNumber(1, 1000).optional().describe(`The same, for the queue \`${queue}\`; default: \`WORKER_CONCURRENCY\``);

function roomLevels(text: string, context: z.core.$RefinementCtx<string>): RoomLevels {
  const pairs = text.split(",").map((pair) => pair.trim().split("=", 2));
  for (const [room = "", level = ""] of pairs) {
    const rooms: readonly string[] = LOG_ROOMS;
    const known = rooms.includes(room) && (LOG_LEVELS as readonly string[]).includes(level);
    if (known) continue;
    const message = `"${room}=${level}" is not a room and its level: ${LOG_ROOMS.join(", ")}; ${LOG_LEVELS.join(", ")}`;
    context.addIssue({ code: "custom", message });
  }
  return Object.fromEntries(pairs) as RoomLevels;
}

/** The service's own variables; each provider adds its fragment. Names, defaults and words are the documentation. */
export const BASE_ENV = {
  NODE_ENV: z
    .enum(["development", "test", "production"])
    .default("development")
    .describe("`production` turns channels without credentials off instead of giving them to the sandbox"),
  ROLE: z
    .enum(["all", "api", "worker"])
    .default("all")
    .describe(
      "`api`: takes requests and webhooks, and works nothing. `worker`: works the queues, and serves `/health`, `/ready` and `/metrics` only. Any number of each share Redis and the database (docs/scaling.md)",
    ),
  PORT: wholeNumber(0, 65_535).default(3000).describe("Port of the HTTP server; 0 takes a free one"),
  HOST: z.string().min(1).default("0.0.0.0").describe("Address that the HTTP server listens on"),
  API_SECRET: z
    .string()
    .min(1)
    .describe("Bearer tokens of the API and the login of `/admin`; several, separated by commas, for rotation"),
  METRICS_TOKEN: z
    .string()
    .optional()
    .describe("Bearer tokens that open `/metrics` and nothing else, for Prometheus; several, separated by commas"),
  REDIS_URL: z
    .string()
    .check((context) => {
      const place = readRedisUrl(context.value);
      if (typeof place === "string") context.issues.push({ code: "custom", message: place, input: context.value });
    })
    .describe(
      "Redis for the queues: `redis://…`, `rediss://…` (TLS), `redis+sentinel://…@host:port,host:port/master` or `redis+cluster://…@host:port,host:port` (docs/scaling.md)",
    ),
  REDIS_PREFIX: z.string().min(1).default("{auto-prospect}").describe("Put before every key in Redis"),
  SUPABASE_URL: z.url({ protocol: /^https?$/ }).describe("Supabase project, without `/rest/v1`"),
  SUPABASE_SERVICE_KEY: z
    .string()
    .regex(SERVICE_KEY, "holds blanks or line breaks")
    .describe("Supabase's service role key"),
  DATABASE_TIMEOUT_MS: wholeNumber(100, 120_000).default(10_000).describe("For one request to Supabase"),
  LOG_LEVEL: z.enum(LOG_LEVELS).default("info").describe("What is logged, as JSON lines on standard output"),
  LOG_LEVELS: z
    .string()
    .transform((text, context) => roomLevels(text, context))
    .optional()
    .describe(
      `Other levels for some rooms, such as \`whatsapp=debug,store=warn\`: ${LOG_ROOMS.map((room) => `\`${room}\``).join(", ")}`,
    ),
  MAX_BODY_BYTES: wholeNumber(1024, 1_073_741_824)
    .default(33_554_432)
    .describe("Largest request body, after inflating"),
  TRUST_PROXY: wholeNumber(0, 10).default(0).describe("Reverse proxies in front; 1 on Railway"),
  PUBLIC_URL: z
    .url({ protocol: /^https?$/ })
    .refine((url) => !/[?#]/.test(url), "an address without a query")
    .optional()
    .describe(
      "Where the internet reaches this service, e.g. `https://worker.example.com`: vendors are told to report there. Without it none of them reports: there are no receipts and no replies, but over WhatsApp",
    ),
  STOP_WORDS: z
    .string()
    .max(2000)
    .optional()
    .describe("Further replies, separated by commas, that mean STOP, beside the built-in French and English ones"),
  SUPPRESSION_SALT: z
    .string()
    .min(16)
    .max(200)
    .optional()
    .describe(
      "Secret of 16 characters or more, under which people who were erased are recognised. Never change it: they would be contacted again. Without it nobody can be erased",
    ),
  DEFAULT_POLICY: z
    .enum(POLICY_NAMES)
    .optional()
    .describe(
      "When, how often and to whom marketing may be sent, for accounts without a policy of their own (docs/compliance.md); `country`: as in the recipient's. Default: `country` in production, else `none`",
    ),
  SENDING_LIMITS: limitsVariable
    .optional()
    .describe(
      'How fast hunts of accounts without limits of their own are sent, as JSON: a list of `{"channel"?, "sender"?, "perSecond"?, "perMinute"?, "perDay"?, "timeZone"?}` (docs/scheduling.md). Default: no limits',
    ),
  PROVIDER_PROBE_MS: wholeNumber(100, 3_600_000)
    .default(30_000)
    .describe("Where a channel has several providers: from one failing until a message probes it"),
  JOB_ATTEMPTS: wholeNumber(1, 20).default(3).describe("Tries of a message, the first one included"),
  JOB_BACKOFF_MS: wholeNumber(10, 3_600_000).default(2000).describe("Before the second try; doubled each time"),
  WORKER_CONCURRENCY: wholeNumber(1, 1000)
    .default(200)
    .describe("Messages under way at once, of each process in each channel queue"),
  WORKER_CONCURRENCY_WHATSAPP: queueConcurrency("whatsapp"),
  WORKER_CONCURRENCY_SMS: queueConcurrency("sms"),
  WORKER_CONCURRENCY_VOICE: queueConcurrency("voice"),
  WORKER_CONCURRENCY_INBOUND: queueConcurrency("inbound"),
  FLOW_WINDOW: wholeNumber(1, 1_000_000)
    .default(2000)
    .describe("Messages of one hunt, queue and sender that may be in Redis at once; the others wait in the database"),
  HUNT_CONCURRENCY: wholeNumber(1, 50)
    .default(2)
    .describe("Chunks of hunts (500 contacts each) planned at once, each process"),
  LOCK_MS: wholeNumber(1000, 600_000)
    .default(10_000)
    .describe("For how long a job of a worker that died stays locked; running jobs renew it"),
  STALLED_CHECK_MS: wholeNumber(100, 600_000).default(2500).describe("How often jobs of dead workers are looked for"),
  SWEEP_MS: wholeNumber(100, 3_600_000)
    .default(5000)
    .describe("How often the ledger is compared with the queues, for messages that no job owns"),
  KEEP_COMPLETED_SECONDS: wholeNumber(0, 31_536_000).default(86_400).describe("Age at which completed jobs go"),
  KEEP_COMPLETED_COUNT: wholeNumber(0, 1_000_000).default(1000).describe("Completed jobs kept in each queue"),
  KEEP_FAILED_SECONDS: wholeNumber(0, 31_536_000).default(1_209_600).describe("Age at which failed jobs go"),
  KEEP_FAILED_COUNT: wholeNumber(0, 1_000_000).default(10_000).describe("Failed jobs kept in each queue"),
  SHUTDOWN_TIMEOUT_MS: wholeNumber(0, 3_600_000)
    .default(25_000)
    .describe("From SIGTERM until running work is handed back and the process exits with 1"),
  ...EVENTS_ENV,
  ...ALERT_ENV,
  ...TRACING_ENV,
} satisfies z.ZodRawShape;
