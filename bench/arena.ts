import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Queue, type BulkJobOptions } from "bullmq";
import { Redis } from "ioredis";
import { ROOT } from "../dev/command.ts";
import { createTemplate, openTestDatabase, type TestDatabase, type TestStack } from "../dev/stack/databases.ts";
import { startStack, type Stack } from "../dev/stack/index.ts";
import { recorded } from "../dev/stack/run-directory.ts";
import { startWhatsApp, type WhatsAppDouble } from "./chaos/whatsapp.ts";
import { startService, type ServiceProcess } from "./service.ts";

/** Each contact channel with its queue. */
export const CHANNEL_QUEUES = { sms: "sms", whatsapp_text: "whatsapp", ringless_voice: "voice" } as const;
export type ChannelName = keyof typeof CHANNEL_QUEUES;

/** Of the embedded PostgREST, as the stack itself has it. */
const POOL_SIZE = 20;
const POLL_MS = 10;

/** What all measurements of a run share. */
export interface Bench extends AsyncDisposable {
  readonly n: number;
  readonly rounds: number;
  /** Messages under way at once in each queue, of the service and of the workers that it is compared with. */
  readonly concurrency: number;
  readonly versions: string;
  say(line: string): void;
  openArena(): Promise<Arena>;
}

export interface NewJob {
  name: string;
  data: unknown;
  opts: BulkJobOptions;
}

/** A fresh database, an empty Redis and an account: nothing of an earlier round slows a later one. */
export interface Arena extends AsyncDisposable {
  readonly database: TestDatabase;
  readonly redis: Redis;
  readonly redisUrl: string;
  readonly prefix: string;
  readonly accountId: string;
  /** Pids of the servers that it uses. */
  readonly servers: Record<"Redis" | "Postgres" | "PostgREST", number>;
  /** Requests to PostgREST so far, by function or table. */
  readonly requests: ReadonlyMap<string, number>;
  queue(name: string): Queue;
  /** Starts the service as production does, in a process of its own. */
  startService(environment?: Record<string, string>, entry?: string): Promise<ServiceProcess>;
  /** A fake WhatsApp in a process of its own, as fast as it can be and without receipts. */
  startWhatsApp(): Promise<WhatsAppDouble>;
  /** Jobs of these queues that are not finished. */
  unfinished(queues: readonly string[]): Promise<number>;
  /** Polls until `unfinished` satisfies `done`; answers when that was seen, by `performance.now()`. */
  until(queues: readonly string[], done: (unfinished: number) => boolean, service?: ServiceProcess): Promise<number>;
}

export async function openBench(options: Pick<Bench, "n" | "rounds" | "concurrency" | "say">): Promise<Bench> {
  await using undo = new AsyncDisposableStack();
  const stack = undo.use(await startStack({ log: () => {} }));
  const template = await createTemplate(stack);
  const versions = await versionsOf(stack);
  const resources = undo.move();
  return {
    ...options,
    versions,
    openArena: () => openArena(stack, template, options.concurrency),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

async function openArena(stack: Stack, template: TestStack, concurrency: number): Promise<Arena> {
  await using undo = new AsyncDisposableStack();
  const requests = new Map<string, number>();
  const onRequest = (path: string): void => {
    const name = /^\/(?:rpc\/)?(\w+)/.exec(path)?.[1] ?? path;
    requests.set(name, (requests.get(name) ?? 0) + 1);
  };
  const database = undo.use(await openTestDatabase(template, { poolSize: POOL_SIZE, onRequest }));
  const redis = undo.adopt(new Redis(stack.redisUrl, { maxRetriesPerRequest: null }), async (connection) => {
    await empty(connection);
    connection.disconnect();
  });
  const prefix = `{bench-${randomUUID()}}`;
  const accountId = "acc_bench";
  await database.sql.query("insert into accounts (id) values ($1)", [accountId]);
  const queues = new Map<string, Queue>();
  undo.defer(async () => {
    for (const queue of queues.values()) await queue.close();
  });
  const queue = (name: string): Queue => {
    const known = queues.get(name) ?? new Queue(name, { connection: redis, prefix });
    queues.set(name, known);
    return known;
  };
  const unfinished = async (names: readonly string[]): Promise<number> => {
    const counts = await Promise.all(names.map((name) => queue(name).getJobCounts(...UNFINISHED)));
    return counts.flatMap((count) => Object.values(count)).reduce((sum, count) => sum + count, 0);
  };
  const resources = undo.move();
  return {
    database,
    redis,
    redisUrl: stack.redisUrl,
    prefix,
    accountId,
    servers: serversOf(stack, database),
    requests,
    queue,
    unfinished,
    async startService(environment = {}, entry = join(ROOT, "src/index.ts")) {
      const service = await startService({
        entry,
        run: stack.run,
        logFile: join(stack.dataDir, "logs", `service-${randomUUID()}.log`),
        environment: {
          REDIS_URL: stack.redisUrl,
          REDIS_PREFIX: prefix,
          SUPABASE_URL: database.supabaseUrl,
          SUPABASE_SERVICE_KEY: database.supabaseServiceKey,
          WORKER_CONCURRENCY: String(concurrency),
          ...environment,
        },
      });
      resources.use(service);
      return service;
    },
    startWhatsApp: () =>
      startWhatsApp({
        run: stack.run,
        logFile: join(stack.dataDir, "logs", `whatsapp-${randomUUID()}.log`),
        latencyMs: 0,
        receipts: "none",
      }),
    async until(names, done, service) {
      for (;;) {
        const left = await unfinished(names);
        if (done(left)) return performance.now();
        service?.assertAlive();
        await delay(POLL_MS);
      }
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

function serversOf(stack: Stack, { databaseUrl }: TestDatabase): Arena["servers"] {
  const processes = recorded(stack.run.directory);
  const pidOf = (name: string): number => processes.find((found) => found.name === name)?.pid ?? Number.NaN;
  return {
    Redis: pidOf("redis"),
    Postgres: pidOf("postgres"),
    PostgREST: pidOf(`postgrest-${new URL(databaseUrl).pathname.slice(1)}`),
  };
}

const UNFINISHED = ["waiting", "prioritized", "active", "delayed", "waiting-children"] as const;

/** Without its old append-only file too, whose rewriting would otherwise fall into a later measurement. */
async function empty(redis: Redis): Promise<void> {
  await redis.flushall();
  await redis.bgrewriteaof().catch(() => {});
  while (/aof_rewrite_(in_progress|scheduled):1/.test(await redis.info("persistence"))) await delay(POLL_MS);
}

async function versionsOf(stack: Stack): Promise<string> {
  const redis = new Redis(stack.redisUrl);
  const info = await redis.info("server");
  redis.disconnect();
  return `Node ${process.versions.node}, Redis ${/redis_version:(\S+)/.exec(info)?.[1]}`;
}
