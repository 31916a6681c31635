import type { LevelWithSilent } from "pino";
import { z } from "zod";
import type { Channel, ProviderDefinition } from "./channels/channel.ts";
import { limitsVariable } from "./compliance/limits.ts";
import { POLICY_NAMES, type PolicyName } from "./compliance/policy.ts";
import { EVENTS_ENV, eventsConfig, type EventsConfig } from "./events/settings.ts";
import { urlFault, type FetchPolicy } from "./core/addresses.ts";
import { ALERT_ENV, alertSettings, type AlertSettings } from "./alerts/settings.ts";
import { LOG_LEVELS, LOG_ROOMS, type RoomLevels } from "./core/logger.ts";
import { TRACING_ENV, tracingConfig, type TracingConfig } from "./core/telemetry-settings.ts";
import type { Fault } from "./core/problem.ts";
import { readRedisUrl } from "./core/redis-url.ts";

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
      "Where the internet reaches this service, e.g. `https://worker.example.com`: vendors are told to report there. Without it there are no webhooks, and no receipts or replies by SMS",
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
  WORKER_CONCURRENCY: wholeNumber(1, 1000).default(200).describe("Messages under way at once, each channel queue"),
  WORKER_CONCURRENCY_WHATSAPP: queueConcurrency("whatsapp"),
  WORKER_CONCURRENCY_SMS: queueConcurrency("sms"),
  WORKER_CONCURRENCY_VOICE: queueConcurrency("voice"),
  WORKER_CONCURRENCY_INBOUND: queueConcurrency("inbound"),
  FLOW_WINDOW: wholeNumber(1, 1_000_000)
    .default(2000)
    .describe("Messages of one hunt, queue and sender that may be in Redis at once; the others wait in the database"),
  HUNT_CONCURRENCY: wholeNumber(1, 50).default(2).describe("Chunks of hunts planned at once"),
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

export interface ConfiguredProvider {
  definition: ProviderDefinition;
  env: Record<string, unknown>;
}

/** A channel as it will run: with a provider, or off and why. */
export interface ChannelConfig {
  /** With its own settings applied. */
  channel: Channel;
  provider: ConfiguredProvider | undefined;
  /** Those that have credentials, chosen or not. */
  available: ConfiguredProvider[];
  /** Several, in order, in place of one; and for the recipients of a country (ISO 3166-1 alpha-2) another order. */
  failover: { order: ConfiguredProvider[]; byCountry: Map<string, ConfiguredProvider[]> } | undefined;
  /** For a channel that is off: what to set, in words. */
  offBecause: string | undefined;
}

export interface Config {
  production: boolean;
  role: "all" | "api" | "worker";
  logLevel: LevelWithSilent;
  /** Of rooms that differ from it. */
  logLevels: RoomLevels;
  http: {
    host: string;
    port: number;
    /** Without a slash at its end. */
    publicUrl: string | undefined;
    apiSecrets: string[];
    /** Open `/metrics` alone. */
    metricsTokens: string[];
    maxBodyBytes: number;
    trustProxy: number;
  };
  redis: { url: string; prefix: string };
  database: { url: string; serviceKey: string; timeoutMs: number };
  jobs: {
    attempts: number;
    backoffMs: number;
    retention: { completed: { age: number; count: number }; failed: { age: number; count: number } };
  };
  workers: {
    concurrency: number;
    /** By queue, where it differs. */
    concurrencies: Partial<Record<string, number>>;
    huntConcurrency: number;
    window: number;
    lockMs: number;
    stalledCheckMs: number;
    sweepMs: number;
  };
  /** Of accounts without their own. */
  limits: readonly object[];
  providerProbeMs: number;
  /** Beside the built-in ones. */
  stopWords: string[];
  compliance: { salt: string | undefined; defaultPolicy: PolicyName };
  shutdownTimeoutMs: number;
  events: EventsConfig;
  alerts: AlertSettings;
  /** undefined: nothing is traced. */
  tracing: TracingConfig | undefined;
  channels: ChannelConfig[];
}

/** Everything that is wrong with the environment, at once. `message` is a list for people. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly faults: Fault[];

  constructor(faults: Fault[]) {
    const lines = faults.map(({ pointer, detail }) => `  ${pointer}: ${detail}`);
    super(`The environment is not complete; .env.example describes each variable.\n${lines.join("\n")}`);
    this.faults = faults;
  }
}

type Environment = Record<string, string | undefined>;

/**
 * Reads the environment. Empty variables count as absent. `fetchPolicy`: what may be posted to. Throws `ConfigError` with every
 * fault.
 */
export function readConfig(
  environment: Environment,
  channels: readonly Channel[],
  fetchPolicy: FetchPolicy = {},
): Config {
  const given = Object.fromEntries(
    Object.entries(environment).filter(([, value]) => value !== undefined && value !== ""),
  );
  const faults: Fault[] = [];
  const parsed = z.object(BASE_ENV).safeParse(given);
  if (!parsed.success) faults.push(...parsed.error.issues.map((issue) => faultOf(issue, given)));
  const production = given["NODE_ENV"] === "production";

  const prefix = given["REDIS_PREFIX"];
  if (/\+cluster:/.test(given["REDIS_URL"] ?? "") && prefix !== undefined && !/\{[^}]+\}/.test(prefix)) {
    faults.push({
      pointer: "REDIS_PREFIX",
      detail: "wants braces in a cluster, such as {auto-prospect}: a queue's keys belong on one node",
    });
  }
  const secrets = (given["API_SECRET"] ?? "").split(",").map((secret) => secret.trim());
  if (given["API_SECRET"] !== undefined && secrets.some((secret) => secret === "")) {
    faults.push({ pointer: "API_SECRET", detail: "has an empty entry between its commas" });
  } else if (production && given["API_SECRET"] !== undefined && secrets.some((secret) => secret.length < 16)) {
    faults.push({ pointer: "API_SECRET", detail: "is too short for production: 16 characters or more, each" });
  }

  const alertFault = given["ALERT_WEBHOOK_URL"] && urlFault(given["ALERT_WEBHOOK_URL"], fetchPolicy);
  if (alertFault) faults.push({ pointer: "ALERT_WEBHOOK_URL", detail: `can never be posted to: ${alertFault}` });
  const metricsTokens = (given["METRICS_TOKEN"] ?? "").split(",").flatMap((token) => token.trim() || []);
  if (production && metricsTokens.some((token) => token.length < 16)) {
    faults.push({ pointer: "METRICS_TOKEN", detail: "is too short for production: 16 characters or more, each" });
  }
  const chosen = channels
    .map((channel) => withSettings(channel, given, faults))
    .map((channel) => chooseProvider(channel, given, production, faults));
  if (!parsed.success || faults.length > 0) throw new ConfigError(unique(faults));

  const env = parsed.data;
  return {
    production,
    role: env.ROLE,
    logLevel: env.LOG_LEVEL,
    logLevels: env.LOG_LEVELS ?? {},
    http: {
      host: env.HOST,
      port: env.PORT,
      publicUrl: env.PUBLIC_URL?.replace(/\/+$/, ""),
      apiSecrets: secrets,
      metricsTokens,
      maxBodyBytes: env.MAX_BODY_BYTES,
      trustProxy: env.TRUST_PROXY,
    },
    redis: { url: env.REDIS_URL, prefix: env.REDIS_PREFIX },
    database: { url: env.SUPABASE_URL, serviceKey: env.SUPABASE_SERVICE_KEY, timeoutMs: env.DATABASE_TIMEOUT_MS },
    jobs: {
      attempts: env.JOB_ATTEMPTS,
      backoffMs: env.JOB_BACKOFF_MS,
      retention: {
        completed: { age: env.KEEP_COMPLETED_SECONDS, count: env.KEEP_COMPLETED_COUNT },
        failed: { age: env.KEEP_FAILED_SECONDS, count: env.KEEP_FAILED_COUNT },
      },
    },
    workers: {
      concurrency: env.WORKER_CONCURRENCY,
      concurrencies: {
        whatsapp: env.WORKER_CONCURRENCY_WHATSAPP,
        sms: env.WORKER_CONCURRENCY_SMS,
        voice: env.WORKER_CONCURRENCY_VOICE,
        inbound: env.WORKER_CONCURRENCY_INBOUND,
      },
      huntConcurrency: env.HUNT_CONCURRENCY,
      window: env.FLOW_WINDOW,
      lockMs: env.LOCK_MS,
      stalledCheckMs: env.STALLED_CHECK_MS,
      sweepMs: env.SWEEP_MS,
    },
    compliance: {
      salt: env.SUPPRESSION_SALT,
      defaultPolicy: env.DEFAULT_POLICY ?? (production ? "country" : "none"),
    },
    limits: env.SENDING_LIMITS ?? [],
    providerProbeMs: env.PROVIDER_PROBE_MS,
    stopWords: (env.STOP_WORDS ?? "").split(",").flatMap((word) => word.trim() || []),
    shutdownTimeoutMs: env.SHUTDOWN_TIMEOUT_MS,
    events: eventsConfig(env, given["WHATSAPP_ENCRYPTION_KEY"]),
    alerts: alertSettings(env),
    tracing: tracingConfig(env),
    channels: chosen,
  };
}

function withSettings(channel: Channel, given: Record<string, unknown>, faults: Fault[]): Channel {
  if (!channel.settings) return channel;
  const parsed = z.object(channel.settings.env).safeParse(given);
  if (parsed.success) return { ...channel, ...channel.settings.apply(parsed.data) };
  faults.push(...parsed.error.issues.map((issue) => faultOf(issue, given)));
  return channel;
}

/** The provider that is named, else the first with credentials, else the sandbox where it cannot be mistaken for real. */
function chooseProvider(
  channel: Channel,
  given: Record<string, unknown>,
  production: boolean,
  faults: Fault[],
): ChannelConfig {
  const candidates = channel.providers.map((definition) => {
    const parsed = z.object(definition.env).safeParse(given);
    if (!parsed.success) {
      faults.push(...parsed.error.issues.map((issue) => faultOf(issue, given)));
      return { definition, env: {}, state: "faulty" as const };
    }
    const env: Record<string, unknown> = parsed.data;
    const state = definition.configured(env);
    if (typeof state === "string") return { definition, env, state };
    faults.push(...state);
    return { definition, env, state: "faulty" as const };
  });

  const available = candidates.filter(({ state }) => state === "present");
  const variable = channel.providerVariable;
  /** The provider of that name, if it can be had. */
  const byName = (name: unknown, pointer: string) => {
    const named = candidates.find(({ definition }) => definition.name === name);
    if (!named) {
      const known = candidates.map(({ definition }) => `"${definition.name}"`).join(", ");
      faults.push({ pointer, detail: `there is no such provider for ${channel.name}; known: ${known}` });
    } else if (named.state === "absent" && name !== "sandbox") {
      const variables = Object.keys(named.definition.env).join(", ");
      faults.push({ pointer, detail: `names a provider without credentials; it reads ${variables}` });
    }
    return named;
  };

  const name = given[variable];
  const failover = chooseOrder(channel, given, byName, faults);
  if (failover) {
    if (name !== undefined) faults.push({ pointer: variable, detail: `is given beside ${orderVariable(channel)}` });
    return { channel, provider: failover.order[0], available, failover, offBecause: undefined };
  }
  const none = undefined;
  if (name !== undefined) {
    return { channel, provider: byName(name, variable), available, failover: none, offBecause: undefined };
  }
  const real = candidates.find(({ definition, state }) => state === "present" && definition.name !== "sandbox");
  const fallback = production ? undefined : candidates.find(({ definition }) => definition.name === "sandbox");
  return {
    channel,
    provider: real ?? fallback,
    available,
    failover: none,
    offBecause: `no provider has credentials; set those of one, or ${variable}=sandbox to try it without sending anything`,
  };
}

/** `SMS_PROVIDERS`: the variable that names several, in order; with `_FR` at its end for the recipients of a country. */
export const orderVariable = ({ providerVariable }: Channel): string => `${providerVariable}S`;

/** Whether one provider can stand in for another: of those whose senders are somebody's own, none can. */
export const hasFailover = ({ providers }: Channel): boolean =>
  providers.filter(({ name }) => name !== "sandbox").length > 1;

function chooseOrder(
  channel: Channel,
  given: Record<string, unknown>,
  byName: (name: string, pointer: string) => ConfiguredProvider | undefined,
  faults: Fault[],
): ChannelConfig["failover"] {
  if (!hasFailover(channel)) return undefined;
  const variable = orderVariable(channel);
  const read = (pointer: string): ConfiguredProvider[] => {
    const names = String(given[pointer])
      .split(",")
      .map((name) => name.trim());
    if (new Set(names).size < names.length) faults.push({ pointer, detail: "names a provider twice" });
    return names.flatMap((name) => byName(name, pointer) ?? []);
  };
  const countries = Object.keys(given).filter((key) => key.startsWith(`${variable}_`));
  if (given[variable] === undefined) {
    for (const pointer of countries) faults.push({ pointer, detail: `wants ${variable} beside it, for all others` });
    return undefined;
  }
  const byCountry = new Map<string, ConfiguredProvider[]>();
  for (const pointer of countries) {
    const country = pointer.slice(variable.length + 1);
    if (/^[A-Z]{2}$/.test(country)) byCountry.set(country, read(pointer));
    else faults.push({ pointer, detail: `ends in no country, such as ${variable}_FR` });
  }
  return { order: read(variable), byCountry };
}

function faultOf(issue: z.core.$ZodIssue, given: Record<string, unknown>): Fault {
  const pointer = issue.path.map(String).join(".");
  return { pointer, detail: pointer in given ? `is not valid: ${issue.message}` : "is missing" };
}

/** Sibling channels may share a provider's variables: say each fault once. */
function unique(faults: Fault[]): Fault[] {
  return [...new Map(faults.map((fault) => [`${fault.pointer}\n${fault.detail}`, fault])).values()];
}
