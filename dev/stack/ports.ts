import { randomInt } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { PortTakenError, StackError } from "./stack-error.ts";

/** Below every usual range of outgoing ports, so that no client's connection takes one between our check and the bind. */
const FIRST_PORT = 20_000;
const LAST_PORT = 32_000;
const MAX_ATTEMPTS = 3;
const NAMES = ["redis", "postgres", "postgrest", "supabase"] as const;

/** The TCP ports of a stack on 127.0.0.1; `supabase` is the one with the `/rest/v1` prefix. */
export type Ports = Record<(typeof NAMES)[number], number>;

/** A free TCP port on 127.0.0.1, between 20000 and 32000, other than those that are `promised` and not listened on yet. */
export async function freePort(promised: readonly number[] = []): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = randomInt(FIRST_PORT, LAST_PORT);
    if (!promised.includes(port) && (await isFree(port))) return port;
  }
  throw new StackError(`found no free port between ${FIRST_PORT} and ${LAST_PORT} on 127.0.0.1`);
}

/**
 * The ports of a stack: those asked for, else those of the last start on the same directory while they are free, so that
 * an env file stays valid, else free ones. Remembers them in `<dataDir>/ports.json`.
 *
 * @throws {StackError} when a port that was asked for is taken
 */
export async function choosePorts(dataDir: string, asked: Partial<Ports> = {}): Promise<Ports> {
  const last = rememberedPorts(dataDir);
  const ports: Ports = { redis: 0, postgres: 0, postgrest: 0, supabase: 0 };
  for (const name of NAMES) {
    const wanted = asked[name] ?? last[name];
    if (wanted !== undefined && (await isFree(wanted))) ports[name] = wanted;
    else if (asked[name] === undefined) ports[name] = await freePort(Object.values(ports));
    else throw new StackError(`port ${wanted} for ${name} is taken by another program: free it or choose another one`);
  }
  writeFileSync(join(dataDir, "ports.json"), `${JSON.stringify(ports)}\n`);
  return ports;
}

/** Runs a start that chooses its ports anew each time, up to three times while another program is quicker to take one. */
export async function withFreshPorts<T>(start: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start();
    } catch (error) {
      if (!(error instanceof PortTakenError) || attempt === MAX_ATTEMPTS) throw error;
    }
  }
}

/** The ports of the last start on this directory; empty before the first one. */
export function rememberedPorts(dataDir: string): Partial<Ports> {
  try {
    const ports: Partial<Ports> = JSON.parse(readFileSync(join(dataDir, "ports.json"), "utf8"));
    return ports;
  } catch {
    return {};
  }
}

/** The TCP port that a server listens on; 0 when it does not. */
export function portOf(server: Server): number {
  const address = server.address();
  return address === null || typeof address === "string" ? 0 : address.port;
}

/** Whether a TCP port can be listened on at 127.0.0.1. */
export function isFree(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const server = createServer();
  server.once("error", () => resolve(false));
  server.listen({ port, host: "127.0.0.1", exclusive: true }, () => server.close(() => resolve(true)));
  return promise;
}
