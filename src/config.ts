import type { LevelWithSilent } from "pino";
import { z } from "zod";
import { alertSettings, type AlertSettings } from "./alerts/settings.ts";
import type { Channel } from "./channels/channel.ts";
import type { PolicyName } from "./compliance/policy.ts";
import { channelConfigs, type ChannelConfig } from "./config/channels.ts";
import { BASE_ENV } from "./config/env.ts";
import { ConfigError, faultOf, PLAIN, unique } from "./config/faults.ts";
import { urlFault, type FetchPolicy } from "./core/addresses.ts";
import type { RoomLevels } from "./core/logger.ts";
import type { Fault } from "./core/problem.ts";
import { tracingConfig, type TracingConfig } from "./core/telemetry-settings.ts";
import { eventsConfig, type EventsConfig } from "./events/settings.ts";

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
  const parsed = z.object(BASE_ENV).safeParse(given, PLAIN);
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
  // By itself: beside other faults nothing is read of the rest.
  if (production && BASE_ENV.WEBHOOK_ALLOW_LOOPBACK.safeParse(given["WEBHOOK_ALLOW_LOOPBACK"]).data) {
    faults.push({
      pointer: "WEBHOOK_ALLOW_LOOPBACK",
      detail:
        "is for a developer's machine: in production it would let whoever makes an endpoint reach what runs beside the service",
    });
  }
  const chosen = channelConfigs(channels, given, production, faults);
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
