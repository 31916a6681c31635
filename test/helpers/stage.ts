import { inject } from "vitest";
import { TcpProxy } from "../../bench/chaos/tcp-proxy.ts";
import { startPostgrest } from "../../dev/stack/postgrest.ts";
import { type Gate, openGate } from "./gate.ts";
import { until } from "./ledger.ts";
import { openWorld, type TestService, type World } from "./service.ts";
import { createVendor, type Vendor } from "./vendor.ts";
import { openWire, type Wire } from "./wire.ts";

/**
 * A service each of whose dependencies can be taken away, and which can be stopped at each boundary of a message:
 *
 *     service ── wire ── network ── Redis
 *        ├────── network ── gate ── network ── PostgREST ── network ── Postgres
 *        └────── vendor
 */
export interface Stage extends AsyncDisposable {
  readonly world: World;
  readonly gate: Gate;
  readonly wire: Wire;
  readonly vendor: Vendor;
  readonly dependencies: Record<DependencyName, Dependency>;
  /** The one that is running now, or a new one, when it reaches everything. */
  service(): Promise<TestService>;
  /** Resolves when the service has met the absence of this dependency. */
  missed(dependency: Exclude<DependencyName, "the provider">): Promise<void>;
  /** Stops the one that is running: false when the deadline was first. */
  stop(deadline: AbortSignal): Promise<boolean>;
}

export type DependencyName = "Redis" | "Postgres" | "PostgREST" | "the provider";

export interface Dependency {
  leave(): Promise<void>;
  comeBack(): Promise<void>;
}

export async function openStage(): Promise<Stage> {
  await using opened = new AsyncDisposableStack();
  const { redisUrl, jwtSecret, run, logDirectory } = inject("stack");
  const through = async (url: string): Promise<TcpProxy> => opened.use(await TcpProxy.open(Number(new URL(url).port)));

  const world = opened.use(await openWorld());
  const { databaseUrl } = world.database;
  const toPostgres = await through(databaseUrl);
  const postgrest = await startPostgrest({
    name: "postgrest-on-stage",
    databaseUrl: at(databaseUrl, toPostgres.port),
    jwtSecret,
    run,
    logDirectory,
  });
  opened.defer(() => postgrest.stop());
  const toPostgrest = await through(postgrest.supabaseUrl);
  const gate = opened.use(await openGate(at(postgrest.supabaseUrl, toPostgrest.port)));
  const toGate = await through(gate.url);
  const toRedis = await through(redisUrl);
  const wire = opened.use(await openWire(toRedis.port));
  const vendor = createVendor();
  const environment = {
    SUPABASE_URL: at(gate.url, toGate.port),
    REDIS_URL: at(redisUrl, wire.port),
    // A vendor who is away for a moment costs tries, and none of these tests is about running out of them.
    JOB_ATTEMPTS: "20",
    // Three messages share a job.
    WORKER_CONCURRENCY: "12",
  };
  const resources = opened.move();

  let running: TestService | undefined;
  return {
    world,
    gate,
    wire,
    vendor,
    dependencies: {
      Redis: { leave: () => toRedis.cut("refuse"), comeBack: () => toRedis.mend() },
      PostgREST: {
        // Before the gate, so that what it holds back is never answered; behind it, so that it never arrives.
        leave: async () => void (await Promise.all([toGate.cut("refuse"), toPostgrest.cut("refuse")])),
        comeBack: async () => void (await Promise.all([toGate.mend(), toPostgrest.mend()])),
      },
      Postgres: {
        async leave() {
          await toPostgres.cut("refuse");
          // With a server its sessions go, and their transactions with them.
          await world.sql.query(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and usename = 'authenticator'",
          );
        },
        comeBack: () => toPostgres.mend(),
      },
      "the provider": { leave: async () => vendor.leave(), comeBack: async () => vendor.comeBack() },
    },
    async service() {
      const service = (running ??= await world.start(environment, { providers: { sms: vendor.provider } }));
      for (const path of Object.values(NEEDING)) await until(statusOf(service, path), (status) => status === 200);
      return service;
    },
    async missed(dependency) {
      const path = NEEDING[dependency === "Redis" ? "redis" : "database"];
      if (running) await until(statusOf(running, path), (status) => status === 503);
    },
    stop(deadline) {
      const service = running;
      running = undefined;
      return service?.stop(deadline) ?? Promise.resolve(true);
    },
    async [Symbol.asyncDispose]() {
      // While it still has what it needs.
      await running?.stop();
      await resources.disposeAsync();
    },
  };
}

/** What can be asked of a service that needs the one or the other; `/ready` answers from memory for a second. */
const NEEDING = { redis: "/api/queues/stats", database: "/api/messages?status=failed&limit=1" };

function statusOf(service: TestService, path: string): () => Promise<number> {
  return async () => (await service.get(path)).status;
}

function at(address: string, port: number): string {
  const url = new URL(address);
  url.port = String(port);
  return url.href.replace(/\/$/, "");
}
