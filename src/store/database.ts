import { createClient, type SupabaseClient } from "@supabase/supabase-js";
import { UnavailableError } from "../core/errors.ts";
import { openHttp } from "./http.ts";

/** A refusal of the database itself, e.g. a violated constraint: trying the same again will not help. */
export class DatabaseError extends Error {
  override readonly name = "DatabaseError";
  readonly code: string;

  constructor(operation: string, code: string, message: string) {
    super(`${operation}: ${message} (${code})`);
    this.code = code;
  }
}

type Answer<T> =
  | { data: T; error: null; status: number }
  | { data: null; error: { code?: string; message: string }; status: number };

/**
 * Codes of a database that is there but cannot serve now: connection, resource, shutdown, serialization and deadlock
 * classes of PostgreSQL, and PostgREST's own for a lost connection or pool. Everything else is a refusal. A statement that was
 * cancelled (57014), because it took too long or somebody wanted it so, has left nothing behind: trying it again is safe for all.
 */
const PASSING = /^(08|53|57P|57014|40001|40P01|55P03|PGRST00)/;

/**
 * Names the arguments in the address, too: PostgREST then hands the body on as it is, where it would parse all of it for their
 * names, which costs it three times as much as the rest.
 */
function columnsOf(args: Record<string, unknown>): string {
  const names = Object.keys(args).filter((name) => args[name] !== undefined);
  return names.length === 0 ? "" : `?columns=${names.join(",")}`;
}

export interface DatabaseOptions {
  url: string;
  serviceKey: string;
  /** For one request, milliseconds. */
  timeoutMs: number;
  /** Told of each request's end, and of how long it took. */
  onRequest?(operation: string, seconds: number, ok: boolean): void;
}

/** The one place that talks to Supabase: runs a request and sorts its failures into "later" and "never". */
export class Database {
  readonly client: SupabaseClient;
  readonly #onRequest: DatabaseOptions["onRequest"];

  constructor({ url, serviceKey, timeoutMs, onRequest }: DatabaseOptions) {
    this.#onRequest = onRequest;
    this.client = createClient(url, serviceKey, {
      // supabase-js would ask again for seven seconds, while a caller waits for a plain answer.
      db: { retry: false },
      auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false },
      global: { fetch: openHttp({ timeoutMs }) },
    });
  }

  /** Calls a function of the database. Rejects with `UnavailableError` or `DatabaseError`. */
  async rpc<T>(name: string, args: Record<string, unknown> = {}): Promise<T> {
    return this.run(name, this.client.rpc(name + columnsOf(args), args) as PromiseLike<Answer<T>>);
  }

  /**
   * As `rpc`, for what carries much: the function `<name>_raw` takes the whole body as its only argument, which has no name, so that
   * nobody takes it apart before.
   */
  async rpcRaw<T>(name: string, args: Record<string, unknown>): Promise<T> {
    return this.run(name, this.client.rpc(`${name}_raw${columnsOf(args)}`, args) as PromiseLike<Answer<T>>);
  }

  /** How many rows a request matches. Rejects like `run`. */
  async count(operation: string, request: PromiseLike<Answer<unknown> & { count: number | null }>): Promise<number> {
    let count = 0;
    await this.run(
      operation,
      request.then((answer) => {
        count = answer.count ?? 0;
        return answer;
      }),
    );
    return count;
  }

  /** Awaits any other request. Rejects with `UnavailableError` or `DatabaseError`. */
  async run<T>(operation: string, request: PromiseLike<Answer<T>>): Promise<T> {
    const began = performance.now();
    let ok = false;
    try {
      const data = await this.#answerOf(operation, request);
      ok = true;
      return data;
    } finally {
      this.#onRequest?.(operation, (performance.now() - began) / 1000, ok);
    }
  }

  async #answerOf<T>(operation: string, request: PromiseLike<Answer<T>>): Promise<T> {
    let answer: Answer<T>;
    try {
      answer = await request;
    } catch (error) {
      throw new UnavailableError("database", `The database did not answer (${operation}).`, error);
    }
    if (!answer.error) return answer.data;
    const { error, status } = answer;
    const code = error.code ?? "";
    if (PASSING.test(code) || status === 0 || status === 429 || (status >= 500 && !/^[0-9A-Z]{5}$/.test(code))) {
      throw new UnavailableError("database", `The database cannot serve ${operation} now (${code || status}).`, error);
    }
    throw new DatabaseError(operation, code || String(status), error.message);
  }
}
