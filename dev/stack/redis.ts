import { mkdirSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { findOnPath, versionOf } from "./binaries.ts";
import { installRedis } from "./redis-install.ts";
import { launch, untilReady } from "./processes.ts";
import type { Run } from "./run-directory.ts";
import { StackError } from "./stack-error.ts";
import { type Service, supervised } from "./supervise.ts";

const PROBE_TIMEOUT_MS = 2_000;

/** Where to look for a redis-server; tests narrow it. */
export interface RedisSearch {
  /** Directories separated as in PATH; default the process's PATH. */
  readonly searchPath?: string | undefined;
  /** Whether a missing one may be installed with the system's package manager; default true. */
  readonly install?: boolean | undefined;
}

export interface RedisOptions {
  readonly dataDir: string;
  readonly run: Run;
  readonly port: number;
  /** Whether to keep an append-only file. */
  readonly durable: boolean;
  /** Whether that survives a crash of the machine too: a disk that is busy for seconds holds Redis up as long. */
  readonly flush: boolean;
  readonly supervise: boolean;
  readonly log: (line: string) => void;
  readonly search?: RedisSearch | undefined;
}

/** A running Redis on 127.0.0.1, without a password. */
export interface RedisServer extends Service {
  readonly redisUrl: string;
}

/** A Redis program: Debian's redis-tools has it under another name, and the name it is called by decides what it does. */
interface RedisProgram {
  readonly file: string;
  readonly argv0?: string;
}

/**
 * Starts Redis on its data in `<dataDir>/redis`, with the eviction policy that BullMQ asks for.
 *
 * @throws {StackError} when there is none and none can be installed without a question
 */
export async function startRedis(options: RedisOptions): Promise<RedisServer> {
  const { dataDir, port, log } = options;
  const program = await findOrInstall(options.search ?? {}, log);
  const directory = join(dataDir, "redis");
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const file = `--appendonly ${options.durable ? "yes" : "no"} --appendfsync ${options.flush ? "everysec" : "no"}`;
  const args = `--port ${port} --bind 127.0.0.1 ${file} --maxmemory-policy noeviction --daemonize no`.split(" ");
  const redisUrl = `redis://127.0.0.1:${port}`;
  const service = await supervised({
    name: "redis",
    supervise: options.supervise,
    log,
    async start(stopping) {
      const logFile = join(dataDir, "logs", "redis.log");
      const child = await launch({
        name: "redis",
        ...program,
        args: [...args, "--save", "", "--dir", directory],
        logFile,
        run: options.run,
      });
      await untilReady(child, () => redisAnswers(redisUrl), stopping);
      return child;
    },
  });
  return { redisUrl, stop: () => service.stop() };
}

/** Whether a Redis answers at that address. One that asks for a password first counts; one that still loads does not. */
export async function redisAnswers(redisUrl: string): Promise<boolean> {
  const { protocol, hostname, port } = new URL(redisUrl);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const address = { host: hostname.replace(/^\[(.*)\]$/, "$1"), port: Number(port || 6379) };
  const socket = protocol === "rediss:" ? connectTls({ ...address, servername: hostname }) : connect(address);
  socket.setTimeout(PROBE_TIMEOUT_MS, () => resolve(false));
  socket.once("error", () => resolve(false));
  socket.once("close", () => resolve(false));
  socket.write("PING\r\n");
  socket.once("data", (reply) => resolve(/^(\+PONG|-NOAUTH)/.test(reply.toString())));
  const answered = await promise;
  socket.destroy();
  return answered;
}

async function findOrInstall(search: RedisSearch, log: (line: string) => void): Promise<RedisProgram> {
  const found = findRedis(search.searchPath);
  if (found !== undefined) return found;
  const failure = search.install === false ? "it may not be installed here" : await installRedis(log);
  const installed = failure === undefined ? findRedis(search.searchPath) : undefined;
  if (installed !== undefined) return installed;
  throw new StackError(
    `no redis-server on this machine (${failure ?? "its installation gave none"}). Install it (Debian, Ubuntu: ` +
      "sudo apt-get install redis-server; macOS: brew install redis; Fedora: sudo dnf install redis; Alpine: apk add redis), " +
      "or set REDIS_URL to one that runs, such as docker run -p 6379:6379 redis:7",
  );
}

export function findRedis(searchPath: string | undefined): RedisProgram | undefined {
  const candidates = [
    { name: "redis-server" },
    { name: "valkey-server" },
    { name: "redis-check-rdb", argv0: "redis-server" },
  ];
  for (const { name, argv0 } of candidates) {
    const file = findOnPath(name, searchPath);
    if (file === undefined || !/server v=/.test(versionOf(file, { argv0 }) ?? "")) continue;
    return argv0 === undefined ? { file } : { file, argv0 };
  }
  return undefined;
}
