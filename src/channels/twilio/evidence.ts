import type { OpenAttempt, Reconciliation } from "../provider.ts";

/** Twilio's times have whole seconds, and its clock and ours differ a little. */
const CLOCK_SLACK_MS = 5_000;
/** How long after our time-out Twilio may still create what was asked for. */
const LATE_MS = 60_000;

export interface Search<Content> {
  attempt: OpenAttempt<Content>;
  timeoutMs: number;
  /** The attempt that a message or call is already known to come from. */
  ownerOf(sid: string): string | undefined;
}

/**
 * Whether one of those listed is that of the attempt: to its recipient, created between the attempt's start and a minute after
 * its time-out, not known to be another attempt's, and `alike`. Exactly one is taken for it; several cannot be told apart.
 */
export function findOwn<Listed extends { sid: string; to: string; dateCreated: Date }>(
  listed: readonly Listed[],
  { attempt, timeoutMs, ownerOf }: Search<unknown>,
  alike: (one: Listed) => boolean,
): Reconciliation {
  const earliest = attempt.startedAt - CLOCK_SLACK_MS;
  const latest = attempt.startedAt + timeoutMs + LATE_MS;
  const candidates = listed.filter((one) => {
    const created = one.dateCreated.getTime();
    return (
      one.to === attempt.to &&
      created >= earliest &&
      created <= latest &&
      (ownerOf(one.sid) ?? attempt.attemptId) === attempt.attemptId &&
      alike(one)
    );
  });
  const own = candidates.find(({ sid }) => ownerOf(sid) === attempt.attemptId) ?? candidates[0];
  if (own === undefined || (candidates.length > 1 && ownerOf(own.sid) === undefined)) return { result: "inconclusive" };
  return { result: "accepted", providerMessageId: own.sid };
}
