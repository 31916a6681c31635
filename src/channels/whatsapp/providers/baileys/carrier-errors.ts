import { type Delivery, messageOf, RateLimitedError, TransientError } from "../../../../core/errors.ts";
import { NAME } from "./environment.ts";

/** A session that has just lost its connection is back soon, milliseconds. */
export const RECONNECT_MS = 1000;

export function closed(): RateLimitedError {
  return new RateLimitedError("The session is not connected now.", {
    code: "session_closed",
    provider: NAME,
    retryAfterMs: RECONNECT_MS,
    scope: "sender",
  });
}

export function notPrepared(error: unknown): TransientError {
  const words = `The message could not be prepared: ${messageOf(error)}`;
  return new TransientError(words, { code: "not_prepared", provider: NAME, delivery: "not_sent", cause: error });
}

export function aborted(delivery: Delivery, cause: unknown): TransientError {
  const words = "The service gave the message up before WhatsApp had confirmed it.";
  return new TransientError(words, { code: "send_aborted", provider: NAME, delivery, cause });
}

export function notAsked(words: string): TransientError {
  return new TransientError(words, { code: "not_asked", provider: NAME, delivery: "unknown" });
}
