import {
  PermanentError,
  type ProviderError,
  RateLimitedError,
  TransientError,
  assertNever,
} from "../../../../core/errors.ts";
import { TWILIO_CODES } from "./error-codes.ts";

export const NAME = "twilio";

/** Long enough for a person to notice and mend it; the contacts wait. */
const CONFIGURATION_RETRY_MS = 5 * 60_000;
const DEFAULT_RETRY_MS = 2_000;

/** How a call of Twilio went wrong. */
export type Failure =
  /** Twilio refused, with its own code if it gave one. */
  | { kind: "answer"; status: number; code: number | undefined; retryAfterMs: number | undefined }
  /** An answer came, but not one that says what became of the message. */
  | { kind: "unreadable" }
  /** No answer. `left`: the request may have reached Twilio. */
  | { kind: "timeout" | "aborted" | "network"; left: boolean };

/** Any failure as an error of our taxonomy. `cause` must already be free of numbers and texts (see `redacted`). */
export function twilioError(failure: Failure, cause: unknown): ProviderError {
  switch (failure.kind) {
    case "answer":
      return refusal(failure, cause);
    case "unreadable":
      return ambiguous(
        "twilio_unreadable_answer",
        "Twilio's answer could not be read; the message may have been sent.",
        cause,
      );
    case "timeout":
    case "aborted":
    case "network":
      return silence(failure, cause);
    default:
      return assertNever(failure);
  }
}

function silence({ kind, left }: Extract<Failure, { left: boolean }>, cause: unknown): ProviderError {
  const what = {
    timeout: "did not answer in time",
    aborted: "had not answered when the attempt was aborted",
    network: "could not be reached",
  }[kind];
  if (left) {
    const code = kind === "network" ? "twilio_connection_lost" : `twilio_${kind}`;
    return ambiguous(
      code,
      `Twilio ${kind === "network" ? "closed the connection without an answer" : what}; the message may have been sent.`,
      cause,
    );
  }
  const code = kind === "network" ? "twilio_unreachable" : `twilio_${kind}`;
  const message = `Twilio ${what}; no connection was made, so nothing was sent.`;
  return new TransientError(message, { code, provider: NAME, cause, delivery: "not_sent" });
}

/**
 * 429 and 503 with Retry-After were not processed ("an API request that receives an error 429 response is never
 * processed and is always safe to retry", https://www.twilio.com/docs/api/errors/20429); any other 5xx may have been:
 * https://www.twilio.com/docs/api/errors/20500 warns that retrying a POST can send twice.
 */
function refusal(answer: Extract<Failure, { kind: "answer" }>, cause: unknown): ProviderError {
  const { status, retryAfterMs } = answer;
  const known = answer.code === undefined ? undefined : TWILIO_CODES[answer.code];
  const code = answer.code === undefined ? `twilio_http_${status}` : `twilio_${answer.code}`;
  const fields = { code, provider: NAME, cause };
  const where = answer.code === undefined ? `HTTP ${status}` : `https://www.twilio.com/docs/api/errors/${answer.code}`;
  const message = `${known?.words ?? defaultWords(status)} (${where})`;

  if (known?.kind === "busy") {
    return new RateLimitedError(message, {
      ...fields,
      scope: known.scope,
      retryAfterMs: retryAfterMs ?? known.retryAfterMs,
    });
  }
  if (status === 429 || (status === 503 && retryAfterMs !== undefined)) {
    return new RateLimitedError(message, {
      ...fields,
      scope: "provider",
      retryAfterMs: retryAfterMs ?? DEFAULT_RETRY_MS,
    });
  }
  if (status >= 500 || status === 408 || status < 400) return ambiguous(code, message, cause);
  switch (known?.kind) {
    case "permanent":
    case "content":
      return new PermanentError(message, fields);
    case "suppress":
      return new PermanentError(message, { ...fields, suppress: true });
    case "configuration":
      return new RateLimitedError(message, { ...fields, scope: known.scope, retryAfterMs: CONFIGURATION_RETRY_MS });
    case "failed_later":
      return new TransientError(message, { ...fields, delivery: "not_sent" });
    case "ambiguous":
      return ambiguous(code, message, cause);
    case undefined:
      // The path names only our own account, so 404 is a wrong SID or base URL.
      if (status === 401 || status === 403 || status === 404) {
        return new RateLimitedError(message, { ...fields, scope: "sender", retryAfterMs: CONFIGURATION_RETRY_MS });
      }
      return new PermanentError(message, fields);
    default:
      return assertNever(known);
  }
}

function defaultWords(status: number): string {
  if (status === 401 || status === 403 || status === 404)
    return "Twilio refuses the credentials or does not know the account.";
  if (status === 429) return "Twilio is limiting requests.";
  if (status === 503) return "Twilio is not available.";
  return status >= 400 && status < 500
    ? "Twilio refused the message."
    : "Twilio failed; the message may have been sent.";
}

function ambiguous(code: string, message: string, cause: unknown): TransientError {
  return new TransientError(message, { code, provider: NAME, cause, delivery: "unknown" });
}

/**
 * The vendor's error without what it quotes: "The 'To' number +33612345678 is not valid" would otherwise reach the
 * logs, where pino prints causes too.
 */
export function redacted(error: unknown, personal: readonly string[]): Error {
  let text = error instanceof Error ? error.message : String(error);
  for (const value of personal) if (value !== "") text = text.replaceAll(value, "[removed]");
  const clean = new Error(text.replace(/\+?\d[\d ()-]{5,}\d/g, "[number removed]").slice(0, 500));
  clean.name = error instanceof Error ? error.name : "Error";
  delete clean.stack;
  return clean;
}

/** `Retry-After`: seconds or an HTTP date (RFC 9110, 10.2.3), kept within an hour. Undefined when absent or unreadable. */
export function retryAfterOf(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined;
  const ms = /^\d+$/.test(header.trim()) ? Number(header) * 1_000 : Date.parse(header) - now;
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), 3_600_000);
}
