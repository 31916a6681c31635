import { z } from "zod";
import type { Clock } from "../core/clock.ts";
import { within } from "../core/deadline.ts";
import { messageOf } from "../core/errors.ts";
import type { Metrics } from "../core/metrics.ts";
import { route, type Route } from "../core/route.ts";
import type { Queues } from "../queues/index.ts";
import type { Store } from "../store/store.ts";
import type { Loops } from "../workers/loops.ts";
import { pulseOf, type Progress } from "../workers/progress.ts";

export interface OpsRoutesDeps {
  store: Pick<Store, "ping">;
  queues: Queues;
  pingRedis(): Promise<unknown>;
  progress: readonly Progress[];
  loops: Pick<Loops, "pulses" | "answered" | "excuse">;
  metrics: Metrics;
  /** Good for `/metrics` alone, beside the API's. */
  metricsTokens: readonly string[];
  isStopping(): boolean;
  version: string;
  clock: Clock;
  /** A worker that moves nothing for so long while jobs wait is stuck, and so is a loop that does not get on, milliseconds. */
  stuckAfterMs: number;
}

/** For how long an answer of a dependency is good: probes must not become load, milliseconds. */
const FRESH_MS = 1000;
const CHECK_TIMEOUT_MS = 3000;

const checkSchema = z.object({ ok: z.boolean(), detail: z.string().optional() });
const readySchema = z.object({ ready: z.boolean(), checks: z.record(z.string(), checkSchema) });
type Check = z.output<typeof checkSchema>;

export function opsRoutes(deps: OpsRoutesDeps): Route[] {
  const startedAt = deps.clock.monotonic();
  let last: { at: number; checks: Promise<Record<string, Check>> } | undefined;
  const checks = (): Promise<Record<string, Check>> => {
    const now = deps.clock.monotonic();
    if (!last || now - last.at > FRESH_MS) last = { at: now, checks: runChecks(deps) };
    return last.checks;
  };

  return [
    route({
      method: "get",
      path: "/health",
      tag: "Operations",
      summary: "Is the process alive?",
      public: true,
      responses: {
        200: {
          description: "It answers.",
          schema: z.object({ status: z.literal("ok"), version: z.string(), uptimeSeconds: z.number() }),
          example: { status: "ok", version: "1.0.0", uptimeSeconds: 3600 },
        },
      },
      async handle() {
        const uptimeSeconds = Math.floor((deps.clock.monotonic() - startedAt) / 1000);
        return { status: 200, body: { status: "ok", version: deps.version, uptimeSeconds } };
      },
    }),
    route({
      method: "get",
      path: "/ready",
      tag: "Operations",
      summary: "Can it do its work?",
      description:
        "Redis, the database, each worker by its progress (one that moves nothing while jobs wait is not ready), and each loop of " +
        "the service's own that has to get on: what feeds a queue, the sweeper, the outbox, the epoch.",
      public: true,
      responses: {
        200: {
          description: "Every check is well.",
          schema: readySchema,
          example: {
            ready: true,
            checks: {
              redis: { ok: true },
              database: { ok: true },
              "worker:sms": { ok: true },
              "feeder:sms": { ok: true },
            },
          },
        },
        503: { description: "The same shape, as plain JSON: the check that fails says why.", schema: readySchema },
      },
      async handle() {
        const found = deps.isStopping()
          ? { process: { ok: false, detail: "The service is stopping." } }
          : await checks();
        const ready = Object.values(found).every(({ ok }) => ok);
        return { status: ready ? 200 : 503, body: { ready, checks: found } };
      },
    }),
    route({
      method: "get",
      path: "/metrics",
      tag: "Operations",
      summary: "Figures for Prometheus",
      description: "Wants a Bearer token: the API's, or one that was made for this alone.",
      ownTokens: deps.metricsTokens,
      responses: {
        200: {
          description: "Prometheus' text format.",
          mediaType: "text/plain",
          schema: z.string(),
          example: 'auto_prospect_delivery_seconds_count{result="delivered"} 42\n',
        },
      },
      async handle() {
        const { contentType, text } = await deps.metrics.page();
        return { status: 200, body: text, headers: { "Content-Type": contentType } };
      },
    }),
  ];
}

async function runChecks({
  store,
  queues,
  pingRedis,
  progress,
  loops,
  stuckAfterMs,
}: OpsRoutesDeps): Promise<Record<string, Check>> {
  const [redis, database] = await Promise.all([
    attempt("Redis", pingRedis),
    attempt("The database", () => store.ping()),
  ]);
  const workers = await Promise.all(
    progress.map(async (worker): Promise<[string, Check]> => {
      const name = `worker:${worker.queue}`;
      if (!redis.ok) return [name, { ok: false, detail: "Its progress cannot be seen without Redis." }];
      const pulse = await pulseOf(worker, queues).catch(() => undefined);
      if (!pulse) return [name, { ok: false, detail: "Its queue cannot be read." }];
      if (pulse.stuckMs === undefined || pulse.stuckMs < stuckAfterMs) return [name, { ok: true }];
      const seconds = Math.round(pulse.stuckMs / 1000);
      return [name, { ok: false, detail: `${pulse.waiting} jobs wait and none has moved for ${seconds} s.` }];
    }),
  );
  // Without Redis and the database no loop can get on, and that is said already.
  const away = !redis.ok || !database.ok;
  if (away) loops.excuse();
  else loops.answered();
  const running = loops.pulses().map(({ loop, stuckMs = 0 }): [string, Check] => {
    if (away || stuckMs < stuckAfterMs) return [loop, { ok: true }];
    return [loop, { ok: false, detail: `It has not got on for ${Math.round(stuckMs / 1000)} s; the log says why.` }];
  });
  return { redis, database, ...Object.fromEntries([...workers, ...running]) };
}

async function attempt(what: string, check: () => Promise<unknown>): Promise<Check> {
  try {
    await within(CHECK_TIMEOUT_MS, check(), () => new Error(`no answer within ${CHECK_TIMEOUT_MS / 1000} s`));
    return { ok: true };
  } catch (error) {
    return { ok: false, detail: `${what} does not answer: ${messageOf(error)}` };
  }
}
