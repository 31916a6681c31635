import type { Fault } from "./shapes.ts";

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

export function failed(failure: Failure): { ok: false; error: ClientError } {
  return { ok: false, error: new ClientError(failure) };
}

export function aborted(key?: string): { ok: false; error: ClientError } {
  const detail = "The caller gave up before there was an answer.";
  return failed({ code: "aborted", detail, retryable: false, idempotencyKey: key });
}
