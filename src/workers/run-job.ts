import { randomUUID } from "node:crypto";
import { UnrecoverableError } from "bullmq";
import type { Logger } from "pino";
import type { Channel } from "../channels/channel.ts";
import type { Provider, SendRequest } from "../channels/provider.ts";
import { movesOn } from "../channels/failover.ts";
import type { Clock } from "../core/clock.ts";
import type { Metrics } from "../core/metrics.ts";
import type { Tracing } from "../core/tracing.ts";
import type { Ruling } from "../core/rules.ts";
import { ProviderError, UnavailableError } from "../core/errors.ts";
import type { MessageJob } from "../channels/message-job.ts";
import type { Outcome, Store } from "../store/store.ts";
import { attemptOnce, holdMs, outcomeOf, reconcile, START_BUDGET_MS } from "./attempt.ts";
import type { NewMessageJob } from "../queues/index.ts";
import type { Throttle } from "../queues/throttle.ts";
import { admit, GO, learn } from "./admission.ts";
import { doubtForgotten, whoHad } from "./doubt.ts";
import type { HandBack } from "./hand-back.ts";
import { Line } from "./line.ts";
import { readJob, refuse } from "./read-job.ts";
import type { Task } from "./task.ts";

/** A channel with who carries it; no provider: it is off. */
export interface ActiveChannel {
  channel: Channel;
  provider: Provider | undefined;
}

export interface RunJobDeps {
  store: Store;
  channels: ReadonlyMap<string, ActiveChannel>;
  clock: Clock;
  log: Logger;
  metrics: Metrics;
  tracing: Pick<Tracing, "call">;
  /** Aborts when the service must stop now: unsent work goes back, a call under way is left to be reconciled. */
  handBack: HandBack;
  /** Aborts when the service begins to stop: what waits for its turn to begin goes back. */
  leaving: HandBack;
  /** What its account's policy says of a marketing message now. Rejects with `UnavailableError`. */
  ruling(message: MessageJob): Promise<Ruling>;
  throttle: Throttle;
  /** Puts a message's job into the lane that it belongs to now. */
  enqueue(job: NewMessageJob): Promise<void>;
}

/** What the job shows for itself once it is done. */
export interface JobResult {
  status: string;
  code?: string | undefined;
  providerMessageId?: string | undefined;
}

/** How soon a job that was handed back is tried again, milliseconds. */
export const HAND_BACK_MS = 250;

/**
 * THE path of a message through a worker: parse → ask the ledger (may it be sent? mark the attempt) → call the
 * provider → record → done. The ledger's mark is what makes it safe: a provider is called again only when the attempt
 * that the message carries is proven not to have been accepted.
 */
export async function runJob(task: Task, deps: RunJobDeps): Promise<JobResult> {
  const { store, clock, log, metrics, handBack, leaving } = deps;
  let data = await readJob(task, deps);
  const carrier = deps.channels.get(data.channel)?.provider;
  if (!carrier) return refuse(store, data.messageId, "channel_off", `${data.channel} has no provider now.`);
  const { choice } = carrier;

  const later = (delayMs: number): Promise<never> => task.later(delayMs);
  const orHandBack = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await handBack.orAbort(work);
    } catch (error) {
      if (error instanceof UnavailableError || handBack.reason || error === leaving.reason) return later(HAND_BACK_MS);
      throw error;
    }
  };
  /**
   * Commits an outcome. A copy stays in the job meanwhile, for whoever continues if this process dies; not of an
   * ambiguous one, which says nothing that the ledger's mark does not say, and would put the reconciliation off again
   * each time that the job comes back and records it.
   */
  const record = async (outcome: Outcome): Promise<void> => {
    if (outcome.result !== "ambiguous") data = { ...data, outcome };
    const keep = outcome.result === "ambiguous" ? Promise.resolve() : task.keep(data);
    const kept = keep.catch((error: unknown) => {
      log.warn({ err: error, jobId: task.id }, "could not keep an outcome in its job");
    });
    await orHandBack(store.recordOutcome(outcome));
    await kept;
  };

  if (data.outcome) await orHandBack(store.recordOutcome(data.outcome as Outcome));

  const { messageId } = data;
  const lane = task.queue === deps.channels.get(data.channel)?.channel.queue ? undefined : task.queue;
  const line = new Line(carrier, data.to, (provider, patienceMs) =>
    orHandBack(admit(provider, data, { lane, patienceMs }, deps)),
  );
  if (choice && line.provider === carrier) return later(choice.retryAfterMs);
  const moved = await orHandBack(moveToLane(task, data, lane, line.provider, deps));
  if (moved !== undefined) return { status: "moved", code: moved };
  const ruling = async (): Promise<Ruling | undefined> =>
    data.category === undefined ? undefined : orHandBack(deps.ruling(data));
  /** Outside its hours nobody waits for a turn: the ledger notes why, or finds another end for it. */
  const before = await ruling();
  const admission = before?.opensInMs || before?.skip ? GO : await line.settle();
  const turnInMs = admission.verdict === "later" ? admission.delayMs : 0;
  // Who has waited before is looked up: it may have expired meanwhile, or be none that waits to be sent.
  const isAway = line.provider.lanes !== undefined && turnInMs >= AWAY_MS;
  if (turnInMs > 0 && task.first && !isAway) return later(turnInMs);
  let permit = admission.verdict === "go" ? admission.permit : undefined;
  const unreachable = admission.verdict === "skip" ? { code: admission.code, detail: admission.detail } : undefined;

  if (data.attempt !== undefined && data.attempt !== data.outcome?.attemptId) {
    await orHandBack(doubtForgotten(store, messageId, data.attempt));
  }
  let attemptId = randomUUID();
  for (;;) {
    // Its turn may have been long in coming.
    const { skip = unreachable, opensInMs, why, caps } = (before?.opensInMs ? before : await ruling()) ?? {};
    if (skip) {
      const refusal: Outcome = { ...outcomeOf(messageId), result: "skipped", ...skip };
      if (await orHandBack(store.recordOutcome(refusal))) return { status: "skipped", code: skip.code };
      // Else it is not waiting to be sent: an earlier attempt is to be cleared up, or it has come to its end.
    }
    const asked = clock.monotonic();
    const answer = await orHandBack(
      store.beginAttempt({
        messageId,
        attemptId,
        provider: line.provider.name,
        holdMs: holdMs(line.provider),
        opensInMs: skip ? NEVER_MS : (opensInMs ?? (turnInMs > 0 ? turnInMs : undefined)),
        why: why ?? (turnInMs > 0 ? NOT_ITS_TURN : undefined),
        putOff: opensInMs !== undefined || isAway,
        caps,
      }),
    );
    switch (answer.verdict) {
      case "missing":
        throw new UnrecoverableError("The ledger does not know this message, so nothing was sent.");
      case "settled":
        // A bundle's message that has failed has its own job only to show it.
        if (answer.status === "failed" && data.outcome?.result === "failed") {
          throw new UnrecoverableError([data.outcome.code, data.outcome.detail].filter(Boolean).join(": "));
        }
        return { status: answer.status, code: answer.code };
      case "paused":
        return { status: "paused" };
      case "skipped":
        return { status: "skipped", code: answer.code };
      case "wait":
        return later(answer.retryInMs);
      case "reconcile": {
        // Whoever has its own process for each sender cannot be asked while that sender is away: nothing is lost by waiting.
        if (turnInMs > 0 && line.provider.lanes) return later(turnInMs);
        const open = {
          ...requestOf(data, lane, answer.recipient, answer.attemptId, answer.attempts),
          startedAt: answer.startedAt,
        };
        // Whoever had the attempt is asked, which may be another one than would carry the message now.
        const had = choice ? await orHandBack(whoHad(messageId, choice, store)) : carrier;
        const outcome = await reconcile(had, open, attemptId, deps);
        await record(outcome);
        if (outcome.result === "not_sent") continue;
        if (outcome.result === "ambiguous") return later(outcome.holdMs ?? 0);
        return { status: outcome.result, code: outcome.code, providerMessageId: outcome.providerMessageId };
      }
      case "go": {
        data = { ...data, attempt: attemptId };
        const marked = await handBack.orAbort(task.keep(data)).then(
          () => true,
          () => false,
        );
        if (!marked || clock.monotonic() - asked > START_BUDGET_MS) {
          await record({ ...outcomeOf(messageId, attemptId), result: "not_sent", code: "not_started" });
          return later(HAND_BACK_MS);
        }
        const { provider: carried, next: nextInLine } = line;
        const maxAttempts = nextInLine ? Infinity : task.maxAttempts;
        const tries = { attempt: task.attempt, maxAttempts, calls: answer.attempts };
        const called = clock.monotonic();
        const request = requestOf(data, lane, answer.recipient, attemptId, answer.attempts);
        const attempt = await deps.tracing.call(
          { channel: data.channel, provider: carried.name },
          () => attemptOnce(carried, request, tries, handBack),
          ({ outcome }) => outcome.result,
        );
        const seconds = (clock.monotonic() - called) / 1000;
        metrics.attemptEnded(
          { channel: data.channel, provider: carried.name, result: attempt.outcome.result },
          seconds,
          attempt.next === "done" ? undefined : attempt.error,
        );
        if (attempt.next === "reconcile" && !(attempt.error instanceof ProviderError)) {
          log.error({ err: attempt.error, jobId: task.id }, "a provider threw what it must not throw");
        }
        await Promise.all([record(attempt.outcome), learn(carried.name, permit, attempt, deps)]);
        if (nextInLine && attempt.outcome.result === "not_sent" && attempt.next !== "done" && movesOn(attempt.error)) {
          line.pass(nextInLine);
          attemptId = randomUUID();
          const turn = await line.settle();
          if (turn.verdict !== "go") return later(turn.verdict === "later" ? turn.delayMs : HAND_BACK_MS);
          permit = turn.permit;
          continue;
        }
        switch (attempt.next) {
          case "done":
            return { status: "sent", providerMessageId: attempt.outcome.providerMessageId };
          case "fail":
            throw new UnrecoverableError(attempt.reason);
          case "retry":
            // Not the vendor's own error: what is thrown here is kept in the job and shown.
            throw new Error(attempt.reason);
          case "delay":
          case "reconcile":
            return later(attempt.delayMs);
        }
      }
    }
  }
}

/** A job that waits where no worker has its sender goes on in the right lane; answers which. */
async function moveToLane(
  task: Task,
  data: MessageJob,
  current: string | undefined,
  provider: Provider,
  { channels, enqueue }: RunJobDeps,
): Promise<string | undefined> {
  const queue = channels.get(data.channel)?.channel.queue;
  if (!provider.lanes || queue === undefined) return undefined;
  const key = { accountId: data.accountId, sender: data.from, recipient: data.to };
  const lane = await provider.lanes.laneOf(key, current);
  if (lane === undefined || lane === task.queue) return undefined;
  await enqueue({ queue, data });
  return lane;
}

/** A sender of a lane that wants so long to pass is away, or rests: longer than the gaps of its pace, milliseconds. */
const AWAY_MS = 1000;
/** A year: longer than any message waits. */
const NEVER_MS = 31_536_000_000;

/** Shown of a message that waits. */
const NOT_ITS_TURN = "Its sender has others to send first.";

function requestOf(
  data: MessageJob,
  lane: string | undefined,
  to: string,
  attemptId: string,
  attemptNumber: number,
): SendRequest {
  return {
    attemptId,
    messageId: data.messageId,
    accountId: data.accountId,
    channel: data.channel,
    lane,
    attemptNumber,
    to,
    from: data.from,
    content: data.content,
  };
}
