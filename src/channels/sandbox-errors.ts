import { PermanentError, type ProviderError, RateLimitedError, TransientError } from "../core/errors.ts";
import type { SendRequest } from "./provider.ts";

export const NAME = "sandbox";

/** How the sandbox fails a call, by its recipient's last four digits; undefined when it accepts. */
export function refusalOf({ to, attemptNumber }: SendRequest): ProviderError | undefined {
  switch (to.slice(-4)) {
    case "0001":
      return new PermanentError("The sandbox refuses this recipient for good.", {
        code: "sandbox_refused",
        provider: NAME,
      });
    case "0002":
      if (attemptNumber > 1) return undefined;
      return new RateLimitedError("The sandbox limits the first call for this recipient.", {
        code: "sandbox_rate_limited",
        provider: NAME,
        retryAfterMs: 500,
        scope: "message",
      });
    case "0003":
      if (attemptNumber > 2) return undefined;
      return new TransientError("The sandbox fails the first two calls for this recipient, before accepting.", {
        code: "sandbox_unavailable",
        provider: NAME,
        delivery: "not_sent",
      });
    case "0004":
      return new TransientError("The sandbox gave no answer in time.", {
        code: "sandbox_timeout",
        provider: NAME,
        delivery: "unknown",
      });
    default:
      return undefined;
  }
}

/** The sandbox accepts at the end of its latency, so an attempt that is aborted before was certainly not accepted. */
export function aborted(): TransientError {
  return new TransientError("The attempt was aborted before the sandbox accepted it.", {
    code: "sandbox_aborted",
    provider: NAME,
    delivery: "not_sent",
  });
}

export function fenced(): TransientError {
  return new TransientError("The sandbox has already declared this attempt not accepted.", {
    code: "sandbox_fenced",
    provider: NAME,
    delivery: "not_sent",
  });
}
