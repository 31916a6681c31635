import type { CallOptions, Fault, FilePage, NewUpload, PostOptions } from "./shapes.ts";

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

/** What every call comes to: faults are values, not exceptions. */
export type Result<T> = { ok: true; value: T } | { ok: false; error: ClientError };

interface Failure {
  status?: number | undefined;
  code: string;
  detail: string;
  errors?: Fault[] | undefined;
  requestId?: string | undefined;
  retryable: boolean;
  retryAfterMs?: number | undefined;
  idempotencyKey?: string | undefined;
  cause?: unknown;
}

/** Why a call came to nothing: the service's own problem (RFC 9457), or what kept its answer from coming. */
export class ClientError extends Error {
  override readonly name = "ClientError";
  /** The HTTP status; undefined when there was no answer. */
  readonly status: number | undefined;
  /**
   * The service's, e.g. `unknown_account` (its /docs lists them), or the client's own: `network_error` (no connection, or
   * it broke), `timeout`, `aborted`, `http_error` (something before the service answered), `invalid_answer` (not JSON).
   */
  readonly code: string;
  /** In words. */
  readonly detail: string;
  /** Every fault of the request; empty where the request is not what is wrong. */
  readonly errors: Fault[];
  /** Under which the service's log has it. */
  readonly requestId: string | undefined;
  /** Whether the same call may succeed later. The client's own retries are over by then. */
  readonly retryable: boolean;
  /** When the service wants to be asked again, milliseconds from its answer. */
  readonly retryAfterMs: number | undefined;
  /** Of a POST: repeat the call with it, and whatever the lost answer was, nobody is contacted twice. */
  readonly idempotencyKey: string | undefined;

  constructor({ cause, ...failure }: Failure) {
    super(`${failure.status ?? "no answer"} ${failure.code}: ${failure.detail}`, cause === undefined ? {} : { cause });
    this.status = failure.status;
    this.code = failure.code;
    this.detail = failure.detail;
    this.errors = failure.errors ?? [];
    this.requestId = failure.requestId;
    this.retryable = failure.retryable;
    this.retryAfterMs = failure.retryAfterMs;
    this.idempotencyKey = failure.idempotencyKey;
  }
}

/** For one attempt with a stream, milliseconds. */
const LINES_TIMEOUT_MS = 300_000;
/** Lines that are sent at once, characters. */
const LINES_BYTES = 65_536;
const FIRST_BACKOFF_MS = 250;
const MAX_BACKOFF_MS = 8000;
const PRINTABLE = /^[\x20-\x7e]+$/;

/** Statuses that may pass by themselves; 500 as well, since nothing is done twice. */
const PASSING = new Set([408, 425, 429, 500, 502, 503, 504]);
/** 503, but it wants the operator. */
const STAYING = new Set(["channel_off", "erasure_off"]);

/** One HTTP exchange, with its retries. */
export interface Calls {
  call<T>(what: Call): Promise<Result<T>>;
  get<T>(path: string, options?: CallOptions): Promise<Result<T>>;
  /** Each carries an `Idempotency-Key`, and so stays one request however often it is tried. */
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

/** Made as it is sent: a list of any length takes no more memory than some of its lines. */
function streamOf(values: Iterable<unknown> | AsyncIterable<unknown>): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const next = Symbol.asyncIterator in values ? values[Symbol.asyncIterator]() : values[Symbol.iterator]();
  return new ReadableStream({
    async pull(controller) {
      let text = "";
      for (let bytes = 0; bytes < LINES_BYTES; bytes = text.length) {
        const { done, value } = await next.next();
        if (done) {
          if (text !== "") controller.enqueue(encoder.encode(text));
          controller.close();
          return;
        }
        text += `${JSON.stringify(value)}\n`;
      }
      controller.enqueue(encoder.encode(text));
    },
    async cancel() {
      await next.return?.();
    },
  });
}

/** An answer that came whole: a value, a problem, or something that the service would not say. */
function read<T>(
  response: Response,
  text: string,
  { key, alsoGood }: { key: string | undefined; alsoGood: number | undefined },
): Result<T> {
  const { status, headers } = response;
  const type = headers.get("content-type") ?? "";
  const body = type.includes("json") ? parsed(text) : undefined;
  const isProblem = type.includes("problem+json");
  const about = { status, requestId: headers.get("x-request-id") ?? undefined, idempotencyKey: key };
  if (body !== undefined && !isProblem && (response.ok || status === alsoGood)) return { ok: true, value: body as T };
  if (response.ok) {
    const detail = `The answer is not JSON but "${type}": is this the service's address?`;
    return failed({ ...about, code: "invalid_answer", detail, retryable: false });
  }
  const { code, detail, errors, requestId } = (isProblem ? (body ?? {}) : {}) as Partial<ClientError>;
  return failed({
    ...about,
    code: code ?? "http_error",
    detail: detail ?? `Something before the service answered ${status}${redirectOf(headers)}.`,
    errors,
    requestId: requestId ?? about.requestId,
    retryable: PASSING.has(status) && !STAYING.has(code ?? ""),
    retryAfterMs: retryAfterMs(headers.get("retry-after")),
  });
}

export function failed(failure: Failure): { ok: false; error: ClientError } {
  return { ok: false, error: new ClientError(failure) };
}

export function aborted(key?: string): { ok: false; error: ClientError } {
  const detail = "The caller gave up before there was an answer.";
  return failed({ code: "aborted", detail, retryable: false, idempotencyKey: key });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) ?? undefined;
  } catch {
    return undefined;
  }
}

function redirectOf(headers: Headers): string {
  const location = headers.get("location");
  return location === null ? "" : `, a redirect to ${location}: set baseUrl to where the service is`;
}

/** `Retry-After` is a number of seconds or a date (RFC 9110, 10.2.3). */
function retryAfterMs(value: string | null): number | undefined {
  if (value === null) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
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
