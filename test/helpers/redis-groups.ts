import { createPrivateKey, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { Redis } from "ioredis";
import { inject } from "vitest";
import { freePort } from "../../dev/stack/ports.ts";
import { launch, untilReady } from "../../dev/stack/processes.ts";
import { findRedis, redisAnswers } from "../../dev/stack/redis.ts";
import { until } from "./ledger.ts";

export interface RedisGroup extends AsyncDisposable {
  url: string;
  /** All keys, from each of its nodes. */
  keys(): Promise<string[][]>;
}

async function server(
  resources: AsyncDisposableStack,
  port: number,
  directory: string,
  args: string[],
): Promise<Redis> {
  const program = findRedis(undefined);
  if (!program) throw new Error("there is no redis-server");
  mkdirSync(directory);
  const { run } = inject("stack");
  const logFile = join(directory, "redis.log");
  const child = await launch({ name: "redis-of-a-group", ...program, args, logFile, run, cwd: directory });
  resources.defer(() => child.stop());
  await untilReady(child, () => redisAnswers(`redis://127.0.0.1:${port}`), new AbortController().signal);
  return resources.adopt(new Redis(port, "127.0.0.1"), (client) => client.disconnect());
}

const plain = (port: number): string[] => [
  "--port",
  String(port),
  "--bind",
  "127.0.0.1",
  "--save",
  "",
  "--maxmemory-policy",
  "noeviction",
];

function directoryFor(resources: AsyncDisposableStack): string {
  return resources.adopt(mkdtempSync(join(tmpdir(), "auto-prospect-redis-")), (path) =>
    rmSync(path, { recursive: true, force: true }),
  );
}

/** Three masters with a third of the slots each. `freeze`: those that hold keys live, and do nothing, until its answer is called. */
export async function openCluster(): Promise<RedisGroup & { freeze(): Promise<() => void> }> {
  await using undo = new AsyncDisposableStack();
  const directory = directoryFor(undo);
  const ports = [await freePort(), await freePort(), await freePort()];
  const nodes = await Promise.all(
    ports.map(async (port) => {
      const args = [...plain(port), "--cluster-enabled", "yes", "--cluster-port", String(await freePort())];
      return server(undo, port, join(directory, String(port)), args);
    }),
  );
  const bus = async (node: Redis): Promise<string> => /@(\d+)/.exec(String(await node.cluster("NODES")))?.[1] ?? "";
  const slots = [0, 5461, 10_923, 16_384];
  for (const [i, node] of nodes.entries()) {
    await node.call("CLUSTER", "ADDSLOTSRANGE", String(slots[i]), String((slots[i + 1] ?? 0) - 1));
    await node.call("CLUSTER", "SET-CONFIG-EPOCH", String(i + 1));
    if (i > 0) await nodes[0]?.call("CLUSTER", "MEET", "127.0.0.1", String(ports[i]), await bus(node));
  }
  for (const node of nodes) {
    await until(
      () => node.cluster("INFO"),
      (info) => /state:ok/.test(info) && /known_nodes:3/.test(info),
    );
  }
  const holders = async (): Promise<number[]> => {
    const info = await Promise.all(nodes.map((node) => node.info()));
    return info.filter((text) => /^db0:/m.test(text)).map((text) => Number(/process_id:(\d+)/.exec(text)?.[1]));
  };
  const resources = undo.move();
  return {
    async freeze() {
      const pids = await holders();
      for (const pid of pids) process.kill(pid, "SIGSTOP");
      return () => pids.forEach((pid) => process.kill(pid, "SIGCONT"));
    },
    url: `redis+cluster://${ports.map((port) => `127.0.0.1:${port}`).join(",")}`,
    keys: () => Promise.all(nodes.map((node) => node.keys("*"))),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** A master, and a sentinel that knows it as `mine`. */
export async function openSentinel(): Promise<RedisGroup> {
  await using undo = new AsyncDisposableStack();
  const directory = directoryFor(undo);
  const [port, sentinel] = [await freePort(), await freePort()];
  const master = await server(undo, port, join(directory, "master"), plain(port));
  const config = join(directory, "sentinel.conf");
  writeFileSync(config, `port ${sentinel}\nbind 127.0.0.1\nsentinel monitor mine 127.0.0.1 ${port} 1\n`);
  await server(undo, sentinel, join(directory, "sentinel"), [config, "--sentinel"]);
  const resources = undo.move();
  return {
    url: `redis+sentinel://127.0.0.1:${sentinel}/mine/3`,
    keys: async () => {
      await master.select(3);
      return [await master.keys("*")];
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** Of 127.0.0.1, signed by itself, valid from 2020 to 2126. It guards nothing. */
const CERTIFICATE = new X509Certificate(
  Buffer.from(
    "MIIBXDCCAQGgAwIBAgIBATAKBggqhkjOPQQDAjAVMRMwEQYDVQQDDApyZWRpcy50ZXN0MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjYxMDI5MDAwMDAwWjAVMRMwEQYDVQQDDApyZWRpcy50ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEfXbDMt5Gt0v9DPrPSe4knAQIPRFmNb9m244DYLVEphgJ6o7AzGFd0n1lt5iaE9jaU+7UC0HD8nQKfU3AnAx7d6NAMD4wDwYDVR0RBAgwBocEfwAAATAMBgNVHRMEBTADAQH/MB0GA1UdDgQWBBQKZnx4NqHKA1Qt3VoLn9uRcUyP+TAKBggqhkjOPQQDAgNJADBGAiEAyKN0WUoXU0W3bS2u69zSYzzqlTMrl4AKYxhX804Y5rICIQCm7WyXZxYDNzd32YzfUwiMMFp39dQxH6A/ME1k1FSBVQ==",
    "base64",
  ),
).toString();
const KEY = createPrivateKey({
  key: Buffer.from(
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgwR7VLo0JBT6WQGShkllKMgvgpcpQXgHRc4TuINc35vShRANCAAR9dsMy3ka3S/0M+s9J7iScBAg9EWY1v2bbjgNgtUSmGAnqjsDMYV3SfWW3mJoT2NpT7tQLQcPydAp9TcCcDHt3",
    "base64",
  ),
  format: "der",
  type: "pkcs8",
}).export({ format: "pem", type: "pkcs8" });

/** A server with a user and a password, behind TLS. `certificateFile`: who has signed its certificate. */
export async function openTls(): Promise<RedisGroup & { certificateFile: string }> {
  await using undo = new AsyncDisposableStack();
  const directory = directoryFor(undo);
  const certificateFile = join(directory, "certificate.pem");
  writeFileSync(certificateFile, CERTIFICATE);
  const port = await freePort();
  const redis = await server(undo, port, join(directory, "redis"), plain(port));
  await redis.call("ACL", "SETUSER", "worker", "on", ">p@ss word", "~*", "&*", "+@all");
  await redis.call("ACL", "SETUSER", "default", "resetpass", "-@all");
  const admin = undo.adopt(new Redis(port, "127.0.0.1", { username: "worker", password: "p@ss word" }), (client) =>
    client.disconnect(),
  );
  const front = createTlsServer({ cert: CERTIFICATE, key: KEY }, (socket) => {
    const back = connect(port, "127.0.0.1");
    for (const each of [socket, back]) each.on("error", () => void (socket.destroy(), back.destroy()));
    socket.pipe(back).pipe(socket);
  });
  front.listen(0, "127.0.0.1");
  await once(front, "listening");
  undo.defer(() => void front.close());
  const resources = undo.move();
  return {
    url: `rediss://worker:p%40ss%20word@127.0.0.1:${(front.address() as AddressInfo).port}`,
    certificateFile,
    keys: async () => [await admin.keys("*")],
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}
