/**
 * What a failed provider call says about the message itself.
 *
 * `not_sent`: the provider has proven that it did not accept it, another attempt is safe.
 * `unknown`: the request may have arrived (a time-out, a reset, a 5xx): never call again before reconciling.
 */
export type Delivery = "not_sent" | "unknown";

interface ProviderErrorFields {
  /** Stable and machine readable, e.g. `invalid_number`, or the vendor's own, e.g. `twilio_21610`. */
  code: string;
  provider: string;
  cause?: unknown;
}

/** The only errors that a provider may throw. Their messages carry codes and ids, never a message's text or a number. */
export abstract class ProviderError extends Error {
  readonly code: string;
  readonly provider: string;
  abstract readonly delivery: Delivery;

  constructor(message: string, { code, provider, cause }: ProviderErrorFields) {
    super(message, { cause });
    this.code = code;
    this.provider = provider;
  }
}

/** Will fail each time: this message ends `failed`. `suppress` asks that the recipient be never contacted again. */
export class PermanentError extends ProviderError {
  override readonly name = "PermanentError";
  readonly delivery = "not_sent";
  readonly suppress: boolean;

  constructor(message: string, fields: ProviderErrorFields & { suppress?: boolean }) {
    super(message, fields);
    this.suppress = fields.suppress ?? false;
  }
}

/** May succeed later. With `delivery: "unknown"` it is reconciled before anything else happens. */
export class TransientError extends ProviderError {
  override readonly name = "TransientError";
  readonly delivery: Delivery;

  constructor(message: string, fields: ProviderErrorFields & { delivery: Delivery }) {
    super(message, fields);
    this.delivery = fields.delivery;
  }
}

/** Refused for now. It is not counted as one of the job's attempts; `scope` says whom the limit concerns. */
export class RateLimitedError extends ProviderError {
  override readonly name = "RateLimitedError";
  readonly delivery = "not_sent";
  readonly retryAfterMs: number;
  readonly scope: "message" | "sender" | "provider";

  constructor(
    message: string,
    fields: ProviderErrorFields & { retryAfterMs: number; scope: "message" | "sender" | "provider" },
  ) {
    super(message, fields);
    this.retryAfterMs = fields.retryAfterMs;
    this.scope = fields.scope;
  }
}

/** The database or Redis does not answer. Nothing is wrong with the request itself: wait, or ask again later. */
export class UnavailableError extends Error {
  override readonly name = "UnavailableError";
  readonly dependency: "database" | "redis";

  constructor(dependency: "database" | "redis", message: string, cause?: unknown) {
    super(message, { cause });
    this.dependency = dependency;
  }
}

/** Compile-time proof that a `switch` handles every case. */
export function assertNever(value: never): never {
  throw new Error(`Unhandled case: ${JSON.stringify(value)}`);
}

/** The message of whatever was thrown, for logs. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
