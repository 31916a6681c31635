import type { Redis } from "ioredis";
import { messageOf } from "../core/errors.ts";
import { clockFinding, fault, ok, warning, type Finding } from "./finding.ts";

const OLDEST_MAJOR = 7;
const FULL = 0.8;

/** Version, eviction, persistence, memory and clock. Never rejects. */
export async function checkRedis(redis: Redis): Promise<Finding[]> {
  const check = "redis";
  try {
    const [info, before] = [await redis.info(), Date.now()];
    const [seconds, micros] = (await redis.time()).map(Number) as [number, number];
    const after = Date.now();
    const value = (name: string): string => new RegExp(`^${name}:(.*)$`, "m").exec(info)?.[1]?.trim() ?? "";
    const theirs = seconds * 1000 + micros / 1000;
    return [
      versionFinding(value("redis_version")),
      evictionFinding(value("maxmemory_policy")),
      persistenceFinding(value),
      ...memoryFinding(Number(value("used_memory")), Number(value("maxmemory"))),
      clockFinding("Redis", theirs - (before + after) / 2, (after - before) / 2),
    ];
  } catch (error) {
    return [
      fault(
        check,
        `cannot be used: ${wordsOf(error)}`,
        "Compare REDIS_URL with what its host says, password and TLS (rediss://) included.",
      ),
    ];
  }
}

function versionFinding(version: string): Finding {
  const check = "redis version";
  if (Number(version.split(".")[0]) >= OLDEST_MAJOR) return ok(check, version);
  return fault(check, `is ${version || "not known"}`, `Use Redis ${OLDEST_MAJOR} or newer.`);
}

function evictionFinding(policy: string): Finding {
  const check = "redis eviction";
  if (policy === "noeviction") return ok(check, policy);
  return fault(
    check,
    `maxmemory-policy is ${policy || "not known"}: jobs may vanish when memory is short`,
    "Set maxmemory-policy to noeviction.",
  );
}

function persistenceFinding(value: (name: string) => string): Finding {
  const check = "redis persistence";
  const failing = ["aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"].filter(
    (name) => value(name) !== "" && value(name) !== "ok",
  );
  if (failing.length > 0)
    return fault(check, `its last write to disk failed (${failing.join(", ")})`, "Look at its disk.");
  if (value("aof_enabled") === "1") return ok(check, "append-only file");
  return warning(
    check,
    "has no append-only file: after a restart jobs come back from the ledger, which takes a while",
    "Set appendonly to yes.",
  );
}

function memoryFinding(used: number, most: number): Finding[] {
  if (!(most > 0) || used < FULL * most) return [];
  const percent = Math.round((100 * used) / most);
  return [
    warning(
      "redis memory",
      `${percent} % of maxmemory is used`,
      "Give it more; when it is full, nothing can be queued.",
    ),
  ];
}

/** What Redis or the network say, without the address, which may hold a password. */
function wordsOf(error: unknown): string {
  const text = messageOf(error);
  if (/WRONGPASS|NOAUTH|invalid username-password/.test(text)) return "it refuses the user or the password";
  return text.replaceAll(/:\/\/[^@/\s]+@/g, "://[redacted]@");
}
