import { read } from "./answers.ts";
import { streamOf } from "./ndjson.ts";
import { aborted, failed, type Result } from "./result.ts";
import type { CallOptions, FilePage, NewUpload, PostOptions } from "./shapes.ts";

export interface ClientOptions {
  /** Where the service is, e.g. `https://worker.example.com`; a path is kept as a prefix. */
  baseUrl: string;
  /** One of the service's `API_SECRET`s. Keep it on the server: it must never reach a browser. */
  apiSecret: string;
  /** For one attempt, its answer read to the end, milliseconds; default 30,000. */
  timeoutMs?: number | undefined;
  /** Further attempts where the first failed for a reason that may pass; default 3, 0 for none. */
  retries?: number | undefined;
  /** Used in place of the global `fetch`. */
  fetch?: ((url: string, init: RequestInit) => Promise<Response>) | undefined;
}

/** For one attempt with a stream, milliseconds. */
const LINES_TIMEOUT_MS = 300_000;
const FIRST_BACKOFF_MS = 250;
const MAX_BACKOFF_MS = 8000;
const PRINTABLE = /^[\x20-\x7e]+$/;

/** One HTTP exchange, with its retries. */
export interface Calls {
  call<T>(what: Call): Promise<Result<T>>;
  get<T>(path: string, options?: CallOptions): Promise<Result<T>>;
  /** With an `Idempotency-Key`: where the route heeds it, it stays one request however often it is tried. */
  post<T>(path: string, body: unknown, options?: PostOptions): Promise<Result<T>>;
  /** Like `post`, with a body in NDJSON that is sent as it is read. */
  postLines<T>(path: string, lines: NonNullable<Call["lines"]>, options?: PostOptions): Promise<Result<T>>;
  /** Server-sent events, as soon as the answer has begun; tried once. */
  open(path: string, headers: Record<string, string>, signal: AbortSignal): Promise<Result<ReadableStream<Uint8Array>>>;
}

export interface Call {
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  path: string;
  body?: unknown;
  /** In place of JSON: one value a line, read anew at each attempt. */
  lines?: () => Iterable<unknown> | AsyncIterable<unknown>;
  /** In place of JSON. */
  file?: Pick<NewUpload, "data" | "contentType">;
  key?: string | undefined;
  signal?: AbortSignal | undefined;
  /** A status other than 2xx that comes with a value. */
  alsoGood?: number;
  /** The answer is a file, and the value is `FilePage`. */
  asFile?: boolean;
}

/** How the client speaks to the service. Throws a TypeError for options that can never work. */
export function createCalls({ baseUrl, apiSecret, timeoutMs = 30_000, retries = 3, fetch }: ClientOptions): Calls {
  if (!URL.canParse(baseUrl) || !/^https?:/.test(baseUrl)) throw new TypeError("baseUrl is not an http(s) address");
  if (!PRINTABLE.test(apiSecret)) throw new TypeError("apiSecret is empty, or not printable ASCII");
  const base = baseUrl.replace(/\/+$/, "");
  // Looked up at each call: Next.js puts its own in place of the global one later.
  const send = fetch ?? ((url: string, init: RequestInit) => globalThis.fetch(url, init));

  async function call<T>(what: Call): Promise<Result<T>> {
    const payload = what.body === undefined ? (what.file?.data as RequestInit["body"]) : JSON.stringify(what.body);
    for (let retry = 0; ; retry++) {
      const result = await attempt<T>(what, what.lines ? streamOf(what.lines()) : payload);
      if (result.ok || !result.error.retryable || retry >= retries) return result;
      const backoffMs = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** retry) * (0.5 + Math.random() / 2);
      const waitMs = Math.max(backoffMs, result.error.retryAfterMs ?? 0);
      // Whoever would have to wait longer than for an answer does better to come back later.
      if (waitMs > timeoutMs) return result;
      if (!(await slept(waitMs, what.signal))) return aborted(what.key);
    }
  }

  async function attempt<T>(
    { method, path, file, lines, key, signal, alsoGood, asFile = false }: Call,
    payload: RequestInit["body"],
  ): Promise<Result<T>> {
    const limitMs = lines ? Math.max(timeoutMs, LINES_TIMEOUT_MS) : timeoutMs;
    const overdue = AbortSignal.timeout(limitMs);
    try {
      const response = await send(base + path, {
        method,
        headers: {
          accept: asFile ? "text/csv, application/problem+json" : "application/json, application/problem+json",
          authorization: `Bearer ${apiSecret}`,
          ...(payload === undefined
            ? {}
            : { "content-type": file?.contentType ?? (lines ? "application/x-ndjson" : "application/json") }),
          ...(key === undefined ? {} : { "idempotency-key": key }),
        },
        ...(payload === undefined ? {} : { body: payload }),
        // Without it fetch takes no stream for a body.
        ...(lines ? { duplex: "half" } : {}),
        signal: signal === undefined ? overdue : AbortSignal.any([signal, overdue]),
        // Next.js would answer a GET from its cache.
        cache: "no-store",
        // Followed, a redirect turns a POST into a GET.
        redirect: "manual",
      });
      const text = await response.text();
      if (asFile && response.ok && response.headers.get("content-type")?.startsWith("text/csv")) {
        const page: FilePage = { text, nextCursor: response.headers.get("x-next-cursor") };
        return { ok: true, value: page as T };
      }
      return read<T>(response, text, { key, alsoGood });
    } catch (cause) {
      if (signal?.aborted) return aborted(key);
      if (overdue.aborted) {
        const detail = `There was no whole answer within ${limitMs} ms.`;
        return failed({ code: "timeout", detail, retryable: true, idempotencyKey: key, cause });
      }
      const detail = `No answer came from ${base}: ${reasonOf(cause)}.`;
      return failed({ code: "network_error", detail, retryable: true, idempotencyKey: key, cause });
    }
  }

  const get = <T>(path: string, { signal }: CallOptions = {}): Promise<Result<T>> =>
    call<T>({ method: "GET", path, signal });

  async function keyed<T>(
    what: Pick<Call, "path" | "body" | "lines">,
    { idempotencyKey, signal }: PostOptions = {},
  ): Promise<Result<T>> {
    const key = idempotencyKey ?? crypto.randomUUID();
    if (key.length <= 255 && PRINTABLE.test(key)) return call<T>({ method: "POST", ...what, key, signal });
    const detail = "must be 1 to 255 printable ASCII characters";
    const errors = [{ pointer: "/header/Idempotency-Key", detail }];
    return failed({ code: "invalid_request", detail: `The idempotency key ${detail}.`, errors, retryable: false });
  }

  const open: Calls["open"] = async (path, headers, signal) => {
    try {
      const response = await send(base + path, {
        headers: {
          accept: "text/event-stream, application/problem+json",
          authorization: `Bearer ${apiSecret}`,
          ...headers,
        },
        signal,
        cache: "no-store",
        redirect: "manual",
      });
      const isStream = response.headers.get("content-type")?.startsWith("text/event-stream");
      if (response.ok && isStream && response.body) return { ok: true, value: response.body };
      return read(response, await response.text(), { key: undefined, alsoGood: undefined });
    } catch (cause) {
      if (signal.aborted) return aborted();
      const detail = `No answer came from ${base}: ${reasonOf(cause)}.`;
      return failed({ code: "network_error", detail, retryable: true, cause });
    }
  };

  return {
    call,
    get,
    post: (path, body, options) => keyed({ path, body }, options),
    postLines: (path, lines, options) => keyed({ path, lines }, options),
    open,
  };
}

/** fetch says "fetch failed"; the reason is in its cause. */
function reasonOf(error: unknown): string {
  const { message, cause } = error as { message?: string; cause?: { code?: string; message?: string } };
  return cause?.code ?? cause?.message ?? message ?? String(error);
}

/** False as soon as the signal aborts. */
export function slept(ms: number, signal: AbortSignal | undefined): Promise<boolean> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve(false);
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve(signal?.aborted !== true);
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end, { once: true });
  });
}
