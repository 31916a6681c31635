import {
  assertNever,
  PermanentError,
  type ProviderError,
  RateLimitedError,
  TransientError,
} from "../../../../core/errors.ts";
import type { Failure } from "../../../sms/providers/twilio/errors.ts";
import { TWILIO_VOICE_CODES } from "./error-codes.ts";

export const NAME = "twilio-voice";

/** Long enough for a person to notice and mend it; the contacts wait. */
const CONFIGURATION_RETRY_MS = 5 * 60_000;
const DEFAULT_RETRY_MS = 2_000;

/** Any failure as an error of our taxonomy. `cause` must already be free of numbers and texts. */
export function twilioVoiceError(failure: Failure, cause: unknown): ProviderError {
  switch (failure.kind) {
    case "answer":
      return refusal(failure, cause);
    case "unreadable":
      return ambiguous("twilio_unreadable_answer", "Twilio's answer could not be read; the call may be made.", cause);
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
    network: left ? "closed the connection without an answer" : "could not be reached",
  }[kind];
  if (left) {
    const code = kind === "network" ? "twilio_connection_lost" : `twilio_${kind}`;
    return ambiguous(code, `Twilio ${what}; the call may be made.`, cause);
  }
  const code = kind === "network" ? "twilio_unreachable" : `twilio_${kind}`;
  const message = `Twilio ${what}; no connection was made, so nobody is called.`;
  return new TransientError(message, { code, provider: NAME, cause, delivery: "not_sent" });
}

/** 429, and 503 with Retry-After, were not processed; any other 5xx may have been: https://www.twilio.com/docs/api/errors/20500 */
function refusal(answer: Extract<Failure, { kind: "answer" }>, cause: unknown): ProviderError {
  const { status, retryAfterMs } = answer;
  const known = answer.code === undefined ? undefined : TWILIO_VOICE_CODES[answer.code];
  const code = answer.code === undefined ? `twilio_http_${status}` : `twilio_${answer.code}`;
  const fields = { code, provider: NAME, cause };
  const where = answer.code === undefined ? `HTTP ${status}` : `https://www.twilio.com/docs/api/errors/${answer.code}`;
  const message = `${known?.words ?? defaultWords(status)} (${where})`;
  const limited = (scope: "message" | "sender" | "provider", afterMs: number) =>
    new RateLimitedError(message, { ...fields, scope, retryAfterMs: afterMs });

  if (known?.kind === "busy") return limited(known.scope, retryAfterMs ?? known.retryAfterMs);
  if (status === 429 || (status === 503 && retryAfterMs !== undefined)) {
    return limited("provider", retryAfterMs ?? DEFAULT_RETRY_MS);
  }
  if (status >= 500 || status === 408 || status < 400) return ambiguous(code, message, cause);
  switch (known?.kind) {
    case "permanent":
      return new PermanentError(message, fields);
    case "configuration":
      return limited(known.scope, CONFIGURATION_RETRY_MS);
    case "ambiguous":
      return ambiguous(code, message, cause);
    case undefined:
      // The path names only our own account, so 404 is a wrong SID or base URL.
      if (status === 401 || status === 403 || status === 404) return limited("sender", CONFIGURATION_RETRY_MS);
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
  return status >= 400 && status < 500 ? "Twilio refused the call." : "Twilio failed; the call may be made.";
}

function ambiguous(code: string, message: string, cause: unknown): TransientError {
  return new TransientError(message, { code, provider: NAME, cause, delivery: "unknown" });
}
