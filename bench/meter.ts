import type { Arena } from "./arena.ts";
import { cpuSecondsOf } from "./processes.ts";

/** What some work has cost, by name. */
export interface Usage {
  /** From the start to the end of the work. */
  seconds: number;
  /** By process, seconds. */
  cpu: Record<string, number>;
  /** By command, also of those that scripts call; a script's time holds theirs. Redis takes it by the clock. */
  redis: Record<string, { calls: number; micros: number }>;
  /** To PostgREST, by function or table. */
  requests: Record<string, number>;
}

/**
 * Counts from now on: what it answers tells what was used until it is called. The servers are counted by themselves.
 *
 * @param processes pids by name, beside the servers of the arena
 */
export async function startMeter(arena: Arena, processes: Record<string, number>): Promise<() => Promise<Usage>> {
  const pids = Object.entries({ ...processes, ...arena.servers });
  const look = async (): Promise<Omit<Usage, "seconds">> => ({
    cpu: {
      ...Object.fromEntries(pids.map(([name, pid]) => [name, cpuSecondsOf(pid)])),
      // The proxy before PostgREST works in the bench's own process, whose children the others are.
      "proxy and bench": ownCpuSeconds(),
    },
    redis: commandsOf(await arena.redis.info("commandstats")),
    requests: Object.fromEntries(arena.requests),
  });
  const before = await look();
  const since = performance.now();
  return async () => {
    const seconds = (performance.now() - since) / 1000;
    const now = await look();
    return {
      seconds,
      cpu: minus(now.cpu, before.cpu),
      redis: Object.fromEntries(
        Object.entries(now.redis).map(([name, { calls, micros }]) => {
          const then = before.redis[name] ?? { calls: 0, micros: 0 };
          return [name, { calls: calls - then.calls, micros: micros - then.micros }];
        }),
      ),
      requests: minus(now.requests, before.requests),
    };
  };
}

function ownCpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

function minus(now: Record<string, number>, before: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(now).map(([name, value]) => [name, value - (before[name] ?? 0)]));
}

function commandsOf(info: string): Usage["redis"] {
  const lines = info.matchAll(/^cmdstat_(\S+?):calls=(\d+),usec=(\d+)/gm);
  return Object.fromEntries(
    [...lines].map(([, name, calls, usec]) => [name, { calls: Number(calls), micros: Number(usec) }]),
  );
}
