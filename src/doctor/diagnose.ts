import type { Channel } from "../channels/channel.ts";
import { readRedisUrl } from "../core/redis-url.ts";
import { ConfigError } from "../config/faults.ts";
import { readConfig, type Config } from "../config.ts";
import { SERVICE_KEY } from "../config/env.ts";
import { connectRedis } from "../queues/redis.ts";
import { checkAlerts } from "./alerts.ts";
import { checkConfiguration, checkProviders, faultyVariables } from "./configuration.ts";
import { checkDatabase } from "./database.ts";
import { fault, type Finding } from "./finding.ts";
import { checkRedis } from "./redis.ts";
import { checkSecrets } from "./secrets.ts";

export interface DiagnoseOptions {
  environment: Record<string, string | undefined>;
  channels: readonly Channel[];
  /** Of the migrations that this code was made with. */
  migrations: readonly string[];
}

/** A Redis that does not let itself be connected to is given up after so long, milliseconds. */
const CONNECT_TIMEOUT_MS = 5000;
const CONNECT_ATTEMPTS = 3;
const DATABASE_TIMEOUT_MS = 10_000;

/** Looks at everything that the service needs, also at what is not wrong with the variables when some of them are. */
export async function diagnose({ environment, channels, migrations }: DiagnoseOptions): Promise<Finding[]> {
  const [config, faults] = read(environment, channels);
  const { REDIS_URL: redisUrl = "", SUPABASE_URL: url = "", SUPABASE_SERVICE_KEY: serviceKey = "" } = environment;
  const findings = await Promise.all([
    typeof readRedisUrl(redisUrl) === "string" ? [] : lookAtRedis(redisUrl),
    URL.canParse(url) && SERVICE_KEY.test(serviceKey)
      ? checkDatabase({ url, serviceKey, timeoutMs: DATABASE_TIMEOUT_MS, expected: migrations.toSorted() })
      : [],
    config
      ? checkSecrets({ ...config.database, timeoutMs: DATABASE_TIMEOUT_MS, keys: config.events.encryptionKeys })
      : [],
    config ? checkProviders(config.channels) : [],
    config?.alerts.url === undefined ? [] : checkAlerts(config.alerts.url),
  ]);
  return [...(config ? checkConfiguration(config) : faults), ...findings.flat()];
}

function read(
  environment: DiagnoseOptions["environment"],
  channels: readonly Channel[],
): [Config | undefined, Finding[]] {
  try {
    return [readConfig(environment, channels), []];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return [undefined, faultyVariables(error.faults)];
  }
}

async function lookAtRedis(redisUrl: string): Promise<Finding[]> {
  const redis = connectRedis(redisUrl, "worker");
  const { promise: overdue, resolve } = Promise.withResolvers<Finding[]>();
  const giveUp = (why: string): void => {
    const advice = "Compare REDIS_URL with what its host says, and start it if it is yours.";
    resolve([fault("redis", `cannot be connected to: ${why}`, advice)]);
  };
  let errors = 0;
  redis.on("error", (error) => {
    errors += 1;
    if (errors >= CONNECT_ATTEMPTS) giveUp(error.message);
  });
  const timer = setTimeout(() => giveUp(`no answer within ${CONNECT_TIMEOUT_MS / 1000} s`), CONNECT_TIMEOUT_MS);
  try {
    return await Promise.race([checkRedis(redis), overdue]);
  } finally {
    clearTimeout(timer);
    redis.disconnect();
  }
}
