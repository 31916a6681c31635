import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { inject } from "vitest";
import { freePort } from "../../dev/stack/ports.ts";
import { type RedisServer, startRedis } from "../../dev/stack/redis.ts";

/** A Redis of the test's own, with an append-only file, that can be killed, frozen, emptied and started again. */
export interface OwnRedis extends AsyncDisposable {
  readonly url: string;
  /** For looking and arranging; reconnects by itself. */
  readonly client: Redis;
  /** kill -9; resolves when it is gone. */
  kill(): Promise<void>;
  /** Starts it again on the same port and the same file. */
  start(): Promise<void>;
  /** It keeps its connections and answers nothing any more. */
  freeze(): void;
  thaw(): void;
}

export async function openRedis(): Promise<OwnRedis> {
  const { run } = inject("stack");
  const dataDir = mkdtempSync(join(tmpdir(), "auto-prospect-redis-"));
  mkdirSync(join(dataDir, "logs"));
  const port = await freePort();
  const launch = (): Promise<RedisServer> =>
    startRedis({ dataDir, run, port, durable: true, flush: false, supervise: false, log: () => {} });
  let server: RedisServer | undefined = await launch();
  const url = server.redisUrl;
  const client = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
  client.on("error", () => {});
  let pid = await pidOf(client);

  return {
    url,
    client,
    async kill() {
      process.kill(pid, "SIGKILL");
      await server?.stop();
      server = undefined;
    },
    async start() {
      server = await launch();
      pid = await pidOf(client);
    },
    freeze: () => void process.kill(pid, "SIGSTOP"),
    thaw: () => void process.kill(pid, "SIGCONT"),
    async [Symbol.asyncDispose]() {
      client.disconnect();
      if (server) process.kill(pid, "SIGCONT");
      await server?.stop();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

async function pidOf(client: Redis): Promise<number> {
  const [, pid] = /^process_id:(\d+)/m.exec(await client.info("server")) ?? [];
  return Number(pid);
}
