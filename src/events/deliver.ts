import { Webhook } from "standardwebhooks";
import type { FetchPolicy } from "../core/addresses.ts";
import type { Clock } from "../core/clock.ts";
import { guardedPost, type PostAnswer } from "../core/guarded-post.ts";
import { GuardedFetchError } from "../core/guarded-request.ts";
import { SealError } from "../core/sealed.ts";
import type { BegunDelivery, DeliveryAttempt, DeliveryOutcome } from "../store/events.ts";
import { retryInMs } from "./backoff.ts";
import { masked } from "./masked.ts";
import type { Secrets } from "./secrets.ts";
import { bodyOf, isPersonal } from "./types.ts";

export interface DeliverDeps {
  secrets: Secrets;
  /** From the call to the end of the answer, milliseconds. */
  timeoutMs: number;
  /** Before the second attempt, milliseconds. */
  backoffMs: number;
  fetchPolicy: FetchPolicy | undefined;
  clock: Clock;
}

const GONE = 410;
/** Of an answer no more is looked at. */
const MAX_ANSWER_BYTES = 1024;

/** One attempt of a webhook, signed as the Standard Webhooks specification says. Never throws for what an endpoint does. */
export async function deliver(delivery: BegunDelivery, deps: DeliverDeps): Promise<DeliveryOutcome> {
  const { clock } = deps;
  const at = new Date(clock.now());
  const startedAt = clock.monotonic();
  const answer = await send(delivery, at, deps);
  const failed = typeof answer === "string";
  const status = failed ? null : answer.status;
  const delivered = status !== null && status >= 200 && status < 300;
  const gone = status === GONE;
  const entry: DeliveryAttempt = {
    at: at.toISOString(),
    status,
    durationMs: Math.round(clock.monotonic() - startedAt),
    error: failed ? answer : null,
    // What is personal may come back in an answer, and nothing erases it there.
    answer: failed || answer.text === "" || isPersonal(delivery.event.type) ? null : masked(answer.text),
  };
  const asked = failed ? undefined : answer.retryAfter;
  const retry = delivered || gone ? undefined : retryInMs(delivery.attempts + 1, deps.backoffMs, asked, clock.now());
  const { id, claim, endpointId } = delivery;
  return { id, claim, endpointId, delivered, gone, retryInMs: retry, entry };
}

/** The answer, or in words why there is none. */
async function send(
  { url, secrets: stored, event }: BegunDelivery,
  at: Date,
  { secrets, timeoutMs, fetchPolicy }: DeliverDeps,
): Promise<PostAnswer | string> {
  const body = JSON.stringify(bodyOf(event));
  try {
    const signatures = stored.map((secret) => new Webhook(secrets.open(secret)).sign(event.id, at, body));
    return await guardedPost(url, {
      headers: {
        "content-type": "application/json",
        "user-agent": "auto-prospect",
        "webhook-id": event.id,
        "webhook-timestamp": String(Math.floor(at.getTime() / 1000)),
        "webhook-signature": signatures.join(" "),
      },
      body,
      maxAnswerBytes: MAX_ANSWER_BYTES,
      timeouts: { connectMs: timeoutMs, idleMs: timeoutMs, totalMs: timeoutMs },
      policy: fetchPolicy,
    });
  } catch (error) {
    if (error instanceof GuardedFetchError || error instanceof SealError) return error.message;
    throw error;
  }
}
