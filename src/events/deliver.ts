import { Webhook } from "standardwebhooks";
import type { FetchPolicy } from "../core/addresses.ts";
import type { Clock } from "../core/clock.ts";
import { guardedPost, type PostAnswer } from "../core/guarded-post.ts";
import { GuardedFetchError } from "../core/guarded-request.ts";
import { SealError } from "../core/sealed.ts";
import type { BegunDelivery, DeliveryAttempt, DeliveryOutcome } from "../store/events.ts";
import { retryInMs } from "./backoff.ts";
import { masked } from "./masked.ts";
import type { CannotOpen } from "./sealing.ts";
import type { Secrets } from "./secrets.ts";
import { bodyOf, isPersonal } from "./types.ts";

export interface DeliverDeps {
  secrets: Secrets;
  cannotOpen: CannotOpen;
  /** From the call to the end of the answer, milliseconds. */
  timeoutMs: number;
  /** Before the second attempt, milliseconds. */
  backoffMs: number;
  fetchPolicy: FetchPolicy | undefined;
  clock: Clock;
}

const GONE = 410;
/** As after so many attempts it is looked again whether a key is there now. */
const OURS_AGAIN = 3;
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
  const ours = answer === CANNOT_SIGN;
  const asked = failed ? undefined : answer.retryAfter;
  const attempts = ours ? OURS_AGAIN : delivery.attempts + 1;
  const retry = delivered || gone ? undefined : retryInMs(attempts, deps.backoffMs, asked, clock.now());
  const { id, claim, endpointId } = delivery;
  return { id, claim, endpointId, delivered, gone, ours, retryInMs: retry, entry };
}

/** Shown to whoever asks for the endpoint's deliveries. */
const CANNOT_SIGN =
  "Nothing was sent, because the service cannot open the secret that signs it: a key is missing in its configuration. Its operator can add that key, or the secret can be rotated.";

/** The secrets that sign: of several, one that cannot be opened does not keep the others from it. */
function openable(
  { endpointId, secrets: stored }: BegunDelivery,
  { secrets, cannotOpen }: Pick<DeliverDeps, "secrets" | "cannotOpen">,
): string[] {
  return stored.flatMap((secret) => {
    try {
      return secrets.open(secret);
    } catch (error) {
      if (!(error instanceof SealError)) throw error;
      cannotOpen(endpointId, error);
      return [];
    }
  });
}

/** The answer, or in words why there is none. */
async function send(
  delivery: BegunDelivery,
  at: Date,
  { timeoutMs, fetchPolicy, ...sealing }: DeliverDeps,
): Promise<PostAnswer | string> {
  const { url, event } = delivery;
  const secrets = openable(delivery, sealing);
  if (secrets.length === 0) return CANNOT_SIGN;
  const body = JSON.stringify(bodyOf(event));
  try {
    const signatures = secrets.map((secret) => new Webhook(secret).sign(event.id, at, body));
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
    if (error instanceof GuardedFetchError) return error.message;
    throw error;
  }
}
