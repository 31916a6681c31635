import type { OpenAttempt, Provider, Reconciliation, SendRequest, SendResult } from "../../src/channels/channel.ts";
import { RateLimitedError, TransientError } from "../../src/core/errors.ts";

export const PROVIDER_TIMEOUT_MS = 1500;
const RETRY_AFTER_MS = 500;

/** A provider with an idempotency tag and a log that can be asked, as one would wish every vendor had. */
export function httpProvider(name: string, baseUrl: string): Provider {
  const transient = (code: string, delivery: "not_sent" | "unknown", cause?: unknown): TransientError =>
    new TransientError(`The double did not take it: ${code}.`, {
      code: `chaos_${code}`,
      provider: name,
      delivery,
      cause,
    });

  const post = async (path: string, body: object, signal?: AbortSignal): Promise<Response> => {
    const timeout = AbortSignal.timeout(PROVIDER_TIMEOUT_MS);
    try {
      const response = await fetch(baseUrl + path, {
        method: "POST",
        body: JSON.stringify(body),
        signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      });
      // Whole, or not at all: an answer that breaks off proves nothing.
      return new Response(await response.text(), { status: response.status });
    } catch (error) {
      const refused = ((error as Error).cause as { code?: string } | undefined)?.code === "ECONNREFUSED";
      throw refused ? transient("refused", "not_sent", error) : transient("no_answer", "unknown", error);
    }
  };

  return {
    name,
    timeoutMs: PROVIDER_TIMEOUT_MS,
    reconcileAfterMs: 200,

    async send({ attemptId, messageId, to }: SendRequest, signal): Promise<SendResult> {
      const response = await post("/send", { attemptId, messageId, to }, signal);
      switch (response.status) {
        case 200:
          return (await response.json()) as SendResult;
        case 409:
          throw transient("fenced", "not_sent");
        case 429:
          throw new RateLimitedError("The double wants a rest.", {
            code: "chaos_429",
            provider: name,
            retryAfterMs: RETRY_AFTER_MS,
            scope: "provider",
          });
        default:
          throw transient(`http_${response.status}`, "unknown");
      }
    },

    async reconcile({ attemptId }: OpenAttempt): Promise<Reconciliation> {
      const response = await post("/reconcile", { attemptId }).catch((error: unknown) => {
        throw transient("not_asked", "unknown", error);
      });
      if (response.status !== 200) throw transient("not_asked", "unknown");
      return (await response.json()) as Reconciliation;
    },
  };
}
