import { randomUUID } from "node:crypto";
import { Queue } from "bullmq";
import { Redis } from "ioredis";
import type pg from "pg";
import { pino } from "pino";
import { inject } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";
import type { Channel } from "../../src/channels/channel.ts";
import { readConfig } from "../../src/config.ts";
import { CHANNELS } from "../../src/modules.ts";
import { startService, type Overrides, type Service } from "../../src/service.ts";
import { alsoKept, keepBody, keepEnvironment } from "./output.ts";

export const SECRET = "test-secret-0123456789";

/** A database and a Redis prefix of one's own, in which several services can be started. */
export interface World extends AsyncDisposable {
  readonly database: TestDatabase;
  readonly sql: pg.Pool;
  readonly redis: Redis;
  readonly prefix: string;
  readonly environment: Record<string, string>;
  /** An account of its own; further columns as the test needs them. */
  account(columns?: { status?: string; default_country?: string }): Promise<string>;
  credits(accountId: string, channel: string, balance: number): Promise<void>;
  /** `channels` in place of the registry's, e.g. with another provider. */
  start(
    environment?: Record<string, string>,
    overrides?: Overrides,
    channels?: readonly Channel[],
  ): Promise<TestService>;
  /** A queue of the service, for what only an operator or an intruder does: pausing it, putting jobs into it. */
  queue(name: string): Queue;
}

export interface TestService extends Service, AsyncDisposable {
  /** Every line that the service logged. */
  readonly logs: Record<string, unknown>[];
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Answer>;
  get(path: string, headers?: Record<string, string>): Promise<Answer>;
}

export interface Answer {
  status: number;
  headers: Headers;
  // Tests look into answers of every shape.
  // oxlint-disable-next-line typescript/no-explicit-any
  body: any;
}

/** Opens a world. Retries are quick in it, and dead workers' jobs come back soon. */
export async function openWorld(): Promise<World> {
  const stack = inject("stack");
  const database = await openTestDatabase(stack);
  const prefix = `{test-${randomUUID()}}`;
  const redis = new Redis(stack.redisUrl);
  const environment = {
    NODE_ENV: "test",
    HOST: "127.0.0.1",
    PORT: "0",
    API_SECRET: SECRET,
    REDIS_URL: stack.redisUrl,
    REDIS_PREFIX: prefix,
    SUPABASE_URL: database.supabaseUrl,
    SUPABASE_SERVICE_KEY: database.supabaseServiceKey,
    JOB_BACKOFF_MS: "50",
    LOCK_MS: "2000",
    STALLED_CHECK_MS: "500",
    // A round costs a dozen calls of the database, and most services here wait.
    SWEEP_MS: "1500",
    WORKER_CONCURRENCY: "20",
    SUPPRESSION_SALT: "a salt of the tests, and of nobody else",
    SANDBOX_LATENCY_MS: "1",
    SANDBOX_RECEIPT_DELAY_MS: "20",
  };
  const services: TestService[] = [];
  const queues = new Map<string, Queue>();

  return {
    database,
    sql: database.sql,
    redis,
    prefix,
    environment,
    async account(columns = {}) {
      const id = `acc_${randomUUID()}`;
      const { status = "active", default_country = "FR" } = columns;
      const insert = "insert into accounts (id, status, default_country) values ($1, $2, $3)";
      await database.sql.query(insert, [id, status, default_country]);
      return id;
    },
    async credits(accountId, channel, balance) {
      const insert = "insert into credits (account_id, channel, balance) values ($1, $2, $3)";
      await database.sql.query(insert, [accountId, channel, balance]);
    },
    async start(extra = {}, overrides = {}, channels = CHANNELS) {
      const service = await startTestService({ ...environment, ...extra }, overrides, channels);
      services.push(service);
      return service;
    },
    queue(name) {
      const queue = queues.get(name) ?? new Queue(name, { connection: redis, prefix });
      queues.set(name, queue);
      return queue;
    },
    async [Symbol.asyncDispose]() {
      for (const service of services) {
        await service[Symbol.asyncDispose]();
        // The worker goes on to other files, and keeps this one's variables.
        service.logs.length = 0;
      }
      for (const queue of queues.values()) await queue.close();
      const keys = await redis.keys(`${prefix}*`);
      if (keys.length > 0) await redis.del(...keys);
      await redis.quit();
      await database.drop();
    },
  };
}

async function startTestService(
  environment: Record<string, string>,
  overrides: Overrides,
  channels: readonly Channel[],
): Promise<TestService> {
  const logs: Record<string, unknown>[] = [];
  const log = pino(
    { level: "debug" },
    { write: (line) => void logs.push(JSON.parse(line) as Record<string, unknown>) },
  );
  keepEnvironment(environment);
  const service = await startService(readConfig(environment, channels, overrides.fetchPolicy), {
    ...overrides,
    log: alsoKept(overrides.log ?? log),
  });
  const call = async (
    method: string,
    path: string,
    body: unknown,
    headers: Record<string, string>,
  ): Promise<Answer> => {
    keepBody(body);
    const response = await fetch(service.url + path, {
      method,
      headers: { authorization: `Bearer ${SECRET}`, ...(body === undefined ? {} : JSON_TYPE), ...headers },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = response.headers.get("content-type")?.includes("json");
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
  };
  return {
    url: service.url,
    stop: (deadline) => service.stop(deadline),
    logs,
    post: (path, body, headers = {}) => call("POST", path, body, headers),
    get: (path, headers = {}) => call("GET", path, undefined, headers),
    async [Symbol.asyncDispose]() {
      await service.stop(AbortSignal.timeout(10_000));
    },
  };
}

const JSON_TYPE = { "content-type": "application/json" };

/** A contact that the sandbox delivers to, unless told otherwise. */
export function contact(fields: Record<string, unknown> = {}): Record<string, unknown> {
  return { adId: `ad_${randomUUID()}`, recipientPhone: "+33612345678", channel: "sms", message: "Bonjour", ...fields };
}
