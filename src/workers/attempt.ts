import type { Logger } from "pino";
import type { OpenAttempt, Provider, SendRequest } from "../channels/provider.ts";
import type { Clock } from "../core/clock.ts";
import { messageOf, PermanentError, ProviderError, TransientError } from "../core/errors.ts";
import { vendorWords } from "../core/vendor-words.ts";
import type { Outcome } from "../store/store.ts";
import type { HandBack } from "./hand-back.ts";
import { decide, type Decision, type Tries } from "./retry.ts";

/**
 * The longest between asking the ledger for an attempt and calling the provider, milliseconds. A worker that was
 * frozen for longer (a blocked event loop, a suspended machine) does not call any more: by then another may have
 * taken the message over.
 */
export const START_BUDGET_MS = 4000;
/** Room for timers that fire late, milliseconds. */
const MARGIN_MS = 1000;

/** For how long an attempt belongs to the worker that began it: after that its call is over, one way or the other. */
export const holdMs = (provider: Provider): number => START_BUDGET_MS + provider.timeoutMs + MARGIN_MS;

/** One call of a provider, what it came to, and what the queue is to do about it. */
export type Attempt =
  | { outcome: Outcome; next: "done" }
  | { outcome: Outcome; next: Decision["next"]; delayMs: number; error: unknown; reason: string };

/** Calls the provider once. Never rejects: each failure is an outcome too. */
export async function attemptOnce(
  provider: Provider,
  send: SendRequest,
  tries: Tries,
  handBack: HandBack,
): Promise<Attempt> {
  const base = { ...outcomeOf(send.messageId, send.attemptId), provider: provider.name };
  try {
    const { providerMessageId } = await call(provider, send, handBack);
    return { outcome: { ...base, result: "sent", providerMessageId }, next: "done" };
  } catch (error) {
    const decision = decide(error, tries);
    const code = codeOf(error);
    const words = vendorWords(messageOf(error));
    const outcome: Outcome = {
      ...base,
      result: decision.result,
      code,
      detail: error instanceof ProviderError ? words : undefined,
      suppress: error instanceof PermanentError && error.suppress,
      refused: error instanceof PermanentError,
      holdMs: provider.reconcileAfterMs,
    };
    const delayMs = decision.next === "delay" ? decision.delayMs : provider.reconcileAfterMs;
    return { outcome, next: decision.next, delayMs, error, reason: `${code}: ${words}` };
  }
}

/** For how long a provider that does not answer is asked about an attempt, before a person has to decide. */
const ASK_FOR_MS = 15 * 60_000;
/** Between two times of asking. */
const ASK_AGAIN_MS = 10_000;

/**
 * Asks the provider what became of an abandoned attempt; in doubt a person decides, never a second call. When the
 * provider itself cannot be asked, that proves nothing: `ambiguous`, to be asked again.
 */
export async function reconcile(
  provider: Pick<Provider, "name" | "reconcile">,
  open: OpenAttempt,
  claim: string,
  { clock, log }: { clock: Clock; log: Logger },
): Promise<Outcome> {
  const base = { ...outcomeOf(open.messageId, open.attemptId), claim, provider: provider.name };
  const unknown = (detail: string): Outcome => ({ ...base, result: "unknown", code: "ambiguous", detail });
  if (!provider.reconcile) return unknown("The provider may have accepted it and cannot be asked.");
  try {
    const answer = await provider.reconcile(open);
    switch (answer.result) {
      case "accepted":
        return { ...base, result: "sent", providerMessageId: answer.providerMessageId };
      case "not_accepted":
        return { ...base, result: "not_sent", code: "not_accepted" };
      case "inconclusive":
        return {
          ...unknown("The provider may or may not have accepted it; it is not sent again by itself."),
          providerMessageId: answer.providerMessageId,
        };
    }
  } catch (error) {
    log.warn({ err: error, messageId: open.messageId }, "the provider could not be asked about an attempt");
    if (clock.now() - open.startedAt > ASK_FOR_MS) return unknown("The provider could not be asked what became of it.");
    return { ...base, result: "ambiguous", code: codeOf(error), holdMs: ASK_AGAIN_MS };
  }
}

/** An outcome to be completed; without an attempt it can only be a failure that came before any. */
export function outcomeOf(messageId: string, attemptId?: string): Outcome {
  return {
    messageId,
    attemptId,
    claim: undefined,
    result: "failed",
    code: undefined,
    detail: undefined,
    provider: undefined,
    providerMessageId: undefined,
    suppress: false,
  };
}

function codeOf(error: unknown): string {
  return error instanceof ProviderError ? vendorWords(error.code) : "unexpected_error";
}

/** Makes sure that the call ends in time even where the provider does not. */
async function call(provider: Provider, send: SendRequest, handBack: HandBack): Promise<{ providerMessageId: string }> {
  const controller = new AbortController();
  const { promise: overdue, reject } = Promise.withResolvers<never>();
  // A timer that is cleared, and not AbortSignal.timeout, which makes an exception for each call long after its end.
  const timer = setTimeout(
    () => {
      const reason = new DOMException("The provider did not answer in time.", "TimeoutError");
      controller.abort(reason);
      reject(reason);
    },
    provider.timeoutMs + MARGIN_MS / 2,
  );
  try {
    const sent = provider.send(send, controller.signal);
    return await handBack.orAbort(Promise.race([sent, overdue]), (reason) => controller.abort(reason));
  } catch (error) {
    if (error instanceof ProviderError || !controller.signal.aborted) throw error;
    throw new TransientError("The call was given up before the provider answered.", {
      code: "timeout",
      provider: provider.name,
      delivery: "unknown",
      cause: error,
    });
  } finally {
    clearTimeout(timer);
  }
}
