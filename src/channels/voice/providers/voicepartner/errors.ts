import { z } from "zod";
import { PermanentError, type ProviderError, RateLimitedError, TransientError } from "../../../../core/errors.ts";
import type { TransportError } from "../../../providers/http-call.ts";
import type { Answer } from "./api.ts";
import { REFUSED_FIELDS, VOICEPARTNER_CODES, type VoicePartnerCode } from "./error-codes.ts";

export const NAME = "voicepartner";

/** Long enough for a person to notice and mend it; the contacts wait. */
const CONFIGURATION_RETRY_MS = 5 * 60_000;
/** "Si vous dépassez ces limites vous recevrez une réponse HTTP 429": the limit is one a minute. */
const RATE_RETRY_MS = 60_000;

const refusalSchema = z.object({
  success: z.literal(false),
  code: z.coerce.number().int().optional(),
  errors: z
    .array(z.object({ elementId: z.string() }))
    .catch([])
    .default([]),
});

/** A call that had no complete answer. */
export function silence({ kind, left }: Pick<TransportError, "kind" | "left">): TransientError {
  const what = {
    timeout: "did not answer in time",
    aborted: "had not answered when the attempt was aborted",
    network: left ? "closed the connection without an answer" : "could not be reached",
  }[kind];
  const code = { timeout: "timeout", aborted: "aborted", network: left ? "connection_lost" : "unreachable" }[kind];
  const message = `VoicePartner ${what}; ${left ? "the message may be left" : "no connection was made, so nothing was sent"}.`;
  return new TransientError(message, {
    code: `voicepartner_${code}`,
    provider: NAME,
    delivery: left ? "unknown" : "not_sent",
  });
}

/** An answer that is not an acceptance. VoicePartner's own words are left out: they quote numbers. */
export function refusal({ status, body, retryAfterMs }: Answer): ProviderError {
  if (status === 429) return limited("rate_limited", "VoicePartner is limiting requests.", "provider", retryAfterMs);
  if (status >= 500 || status === 408) {
    return ambiguous(`http_${status}`, `VoicePartner failed (HTTP ${status}); the message may be left.`);
  }
  const parsed = refusalSchema.safeParse(body);
  if (parsed.success) return explicit(parsed.data);
  if (status < 400) {
    return ambiguous("unreadable_answer", "VoicePartner's answer could not be read; the message may be left.");
  }
  if (status === 401 || status === 403 || status === 404) {
    const message = `VoicePartner refuses the key or does not know the address (HTTP ${status}).`;
    return limited(`http_${status}`, message, "sender", CONFIGURATION_RETRY_MS);
  }
  return permanent(`voicepartner_http_${status}`, `VoicePartner refused the message (HTTP ${status}).`);
}

function explicit({ code, errors }: z.output<typeof refusalSchema>): ProviderError {
  const known = code === undefined ? undefined : VOICEPARTNER_CODES[code];
  if (known?.kind === "constraint") {
    const fields = errors.map(({ elementId }) => /\[(\w+)\]/.exec(elementId)?.[1] ?? elementId);
    const refused = fields.map((field) => REFUSED_FIELDS[field]).find((field) => field !== undefined);
    if (refused) return byKind(refused, refused.code);
  }
  const words = known ?? { kind: "permanent", words: "VoicePartner refused the message." };
  return byKind(words, code === undefined ? "voicepartner_refused" : `voicepartner_${code}`);
}

function byKind({ kind, words }: VoicePartnerCode, code: string): ProviderError {
  const message = `${words} (${code})`;
  if (kind !== "configuration") return permanent(code, message);
  return new RateLimitedError(message, {
    code,
    provider: NAME,
    scope: "sender",
    retryAfterMs: CONFIGURATION_RETRY_MS,
  });
}

function limited(
  code: string,
  message: string,
  scope: "sender" | "provider",
  retryAfterMs = RATE_RETRY_MS,
): RateLimitedError {
  return new RateLimitedError(message, { code: `voicepartner_${code}`, provider: NAME, scope, retryAfterMs });
}

export function permanent(code: string, message: string): PermanentError {
  return new PermanentError(message, { code, provider: NAME });
}

function ambiguous(code: string, message: string): TransientError {
  return new TransientError(message, { code: `voicepartner_${code}`, provider: NAME, delivery: "unknown" });
}
