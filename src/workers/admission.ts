import type { Admission, Provider } from "../channels/provider.ts";
import { isTakenOut } from "../channels/failover.ts";
import type { MessageJob } from "../channels/message-job.ts";
import { RateLimitedError, UnavailableError } from "../core/errors.ts";
import type { Metrics } from "../core/metrics.ts";
import type { Asking, PacedSender, Throttle } from "../queues/throttle.ts";
import type { Attempt } from "./attempt.ts";
import type { HandBack } from "./hand-back.ts";

/** What a permit was given for, and when; undefined for a provider that wants none. */
export interface Permitted {
  sender: PacedSender;
  at: number;
  learns: boolean;
}

/** `heldMs`: of the delay, for how long the vendor wants to hear nothing from this sender. */
export type Admitted =
  | { verdict: "go"; permit?: Permitted }
  | { verdict: "later"; delayMs: number; heldMs: number }
  | Extract<Admission, { verdict: "skip" }>;

/** A message that does not wait for anything. */
export const GO: Admitted = { verdict: "go" };

interface AdmitDeps {
  throttle: Throttle;
  leaving: HandBack;
}

/** Asks the provider, then for a permit of the sender's rate. Rejects with `UnavailableError`, or with the reason for leaving. */
export async function admit(
  provider: Provider,
  data: MessageJob,
  { lane, ...asking }: Omit<Asking, "id"> & { lane: string | undefined },
  { throttle, leaving }: AdmitDeps,
): Promise<Admitted> {
  const { messageId, accountId, channel, to, from, content } = data;
  if (provider.admit) {
    const controller = new AbortController();
    const admission = await leaving.orAbort(
      provider.admit({ messageId, accountId, channel, lane, to, from, content }, controller.signal),
      (reason) => controller.abort(reason),
    );
    if (admission.verdict === "later") return { ...admission, heldMs: 0 };
    if (admission.verdict === "skip") return admission;
    if (admission.unpaced) return GO;
  }
  const { name, pace } = provider;
  if (!pace) return GO;
  const sender: PacedSender = { provider: name, sender: pace.senderOf(from), pace };
  const permit = await throttle.ask(sender, { id: messageId, ...asking });
  if (permit.verdict === "later") return permit;
  return { verdict: "go", permit: { sender, at: permit.at, learns: permit.learns } };
}

/**
 * Tells the throttle what an attempt says of its sender's rate. Never rejects: what cannot be told while Redis is away is
 * learned from the next.
 */
export async function learn(
  provider: string,
  permit: Permitted | undefined,
  attempt: Attempt,
  { throttle, metrics }: { throttle: Throttle; metrics: Metrics },
): Promise<void> {
  const error = attempt.next === "done" ? undefined : attempt.error;
  // What concerns one message says nothing of its sender, nor does what no vendor has said.
  const limited =
    error instanceof RateLimitedError && error.scope !== "message" && !isTakenOut(error) ? error : undefined;
  if (limited) metrics.rateLimited({ provider });
  if (!permit) return;
  const { sender, at } = permit;
  try {
    if (limited)
      await throttle.refused(sender, { at, retryAfterMs: limited.retryAfterMs, code: attempt.outcome.code ?? "" });
    else if (attempt.next === "done" && permit.learns) await throttle.accepted(sender, at);
  } catch (cause) {
    if (!(cause instanceof UnavailableError)) throw cause;
  }
}
