import { randomUUID } from "node:crypto";
import { DelayedError, UnrecoverableError, type Job } from "bullmq";
import type { Logger } from "pino";
import type { Channel, Provider, ProviderChoice, SendRequest } from "../channels/channel.ts";
import { movesOn, SHORT_WAIT_MS } from "../channels/failover.ts";
import type { Clock } from "../core/clock.ts";
import type { Metrics } from "../core/metrics.ts";
import type { Tracing } from "../core/tracing.ts";
import type { Ruling } from "../core/rules.ts";
import { ProviderError, UnavailableError } from "../core/errors.ts";
import { messageJobSchema, type MessageJob } from "../channels/message-job.ts";
import type { Outcome, Store } from "../store/store.ts";
import { attemptOnce, holdMs, outcomeOf, reconcile, START_BUDGET_MS } from "./attempt.ts";
import type { NewMessageJob } from "../queues/index.ts";
import type { Throttle } from "../queues/throttle.ts";
import { admit, GO, learn, type Admitted } from "./admission.ts";
import type { HandBack } from "./hand-back.ts";

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
const HAND_BACK_MS = 250;

/**
 * THE path of a message through a worker: parse → ask the ledger (may it be sent? mark the attempt) → call the
 * provider → record → done. The ledger's mark is what makes it safe: a provider is called again only when the attempt
 * that the message carries is proven not to have been accepted.
 */
export async function runJob(job: Job<unknown>, token: string | undefined, deps: RunJobDeps): Promise<JobResult> {
  const { store, clock, log, metrics, handBack, leaving } = deps;
  let data = await parse(job, deps);
  const carrier = deps.channels.get(data.channel)?.provider;
  if (!carrier) return refuse(store, data.messageId, "channel_off", `${data.channel} has no provider now.`);
  const { choice } = carrier;
  /** Of several, those that have proven in this run that they did not accept the message. */
  const tried: string[] = [];

  const later = async (delayMs: number): Promise<never> => {
    await job.moveToDelayed(Date.now() + Math.max(1, delayMs), token);
    throw new DelayedError();
  };
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
    const keep = outcome.result === "ambiguous" ? Promise.resolve() : job.updateData(data);
    const kept = keep.catch((error: unknown) => {
      log.warn({ err: error, jobId: job.id }, "could not keep an outcome in its job");
    });
    await orHandBack(store.recordOutcome(outcome));
    await kept;
  };

  if (data.outcome) await orHandBack(store.recordOutcome(data.outcome as Outcome));

  const { messageId } = data;
  let provider: Provider = choice?.next(data.to, tried) ?? carrier;
  if (choice && provider === carrier) return later(choice.retryAfterMs);
  const lane = job.queueName === deps.channels.get(data.channel)?.channel.queue ? undefined : job.queueName;
  const moved = await orHandBack(moveToLane(job, data, lane, provider, deps));
  if (moved !== undefined) return { status: "moved", code: moved };
  const ruling = async (): Promise<Ruling | undefined> =>
    data.category === undefined ? undefined : orHandBack(deps.ruling(data));
  const first = job.attemptsStarted <= 1;
  /** Settles who sends it: the first in line whose vendor does not want to hear nothing from its sender for long. */
  const admitted = async (): Promise<Admitted> => {
    for (let soonestMs = Infinity; ;) {
      const other = choice?.next(data.to, [...tried, provider.name]);
      const patienceMs = other ? SHORT_WAIT_MS : Infinity;
      const answer = await orHandBack(admit(provider, data, { lane, patienceMs }, deps));
      if (answer.verdict === "go") return answer;
      if (answer.verdict === "skip") {
        // What one cannot carry another may, also one that is held or out now.
        if (!other) {
          if (soonestMs < Infinity) return { verdict: "later", delayMs: soonestMs, heldMs: 0 };
          const isOut = choice?.another(data.to, [...tried, provider.name]) === true;
          return isOut ? { verdict: "later", delayMs: choice.retryAfterMs, heldMs: 0 } : answer;
        }
        tried.push(provider.name);
        provider = other;
        continue;
      }
      soonestMs = Math.min(soonestMs, answer.delayMs);
      if (!other || answer.heldMs <= patienceMs) return { ...answer, delayMs: soonestMs };
      tried.push(provider.name);
      provider = other;
    }
  };
  /** Outside its hours nobody waits for a turn: the ledger notes why, or finds another end for it. */
  const before = await ruling();
  const admission = before?.opensInMs || before?.skip ? GO : await admitted();
  const turnInMs = admission.verdict === "later" ? admission.delayMs : 0;
  // Who has waited before is looked up: it may have expired meanwhile, or be none that waits to be sent.
  const isAway = provider.lanes !== undefined && turnInMs >= AWAY_MS;
  if (turnInMs > 0 && first && !isAway) return later(turnInMs);
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
        provider: provider.name,
        holdMs: holdMs(provider),
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
        return { status: answer.status, code: answer.code };
      case "paused":
        return { status: "paused" };
      case "skipped":
        return { status: "skipped", code: answer.code };
      case "wait":
        return later(answer.retryInMs);
      case "reconcile": {
        // Whoever has its own process for each sender cannot be asked while that sender is away: nothing is lost by waiting.
        if (turnInMs > 0 && provider.lanes) return later(turnInMs);
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
        const marked = await handBack.orAbort(job.updateData(data)).then(
          () => true,
          () => false,
        );
        if (!marked || clock.monotonic() - asked > START_BUDGET_MS) {
          await record({ ...outcomeOf(messageId, attemptId), result: "not_sent", code: "not_started" });
          return later(HAND_BACK_MS);
        }
        const nextInLine: Provider | undefined = choice?.next(data.to, [...tried, provider.name]);
        const maxAttempts = nextInLine ? Infinity : (job.opts.attempts ?? 1);
        const tries = { attempt: job.attemptsMade + 1, maxAttempts, calls: answer.attempts };
        const called = clock.monotonic();
        const request = requestOf(data, lane, answer.recipient, attemptId, answer.attempts);
        const carried = provider;
        const attempt = await deps.tracing.call(
          { channel: data.channel, provider: provider.name },
          () => attemptOnce(carried, request, tries, handBack),
          ({ outcome }) => outcome.result,
        );
        const seconds = (clock.monotonic() - called) / 1000;
        metrics.attemptEnded(
          { channel: data.channel, provider: provider.name, result: attempt.outcome.result },
          seconds,
          attempt.next === "done" ? undefined : attempt.error,
        );
        if (attempt.next === "reconcile" && !(attempt.error instanceof ProviderError)) {
          log.error({ err: attempt.error, jobId: job.id }, "a provider threw what it must not throw");
        }
        await Promise.all([record(attempt.outcome), learn(provider.name, permit, attempt, deps)]);
        if (nextInLine && attempt.outcome.result === "not_sent" && attempt.next !== "done" && movesOn(attempt.error)) {
          tried.push(provider.name);
          provider = nextInLine;
          attemptId = randomUUID();
          const turn = await admitted();
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

/** Who has a message's attempt, as the ledger knows; one that is no longer there cannot be asked about it. */
async function whoHad(
  messageId: string,
  choice: ProviderChoice,
  store: Store,
): Promise<Pick<Provider, "name" | "reconcile">> {
  const name = (await store.message(messageId))?.provider ?? "";
  return choice.named(name) ?? { name };
}

/**
 * A call that the job knows of, without its end: the ledger has it in `sending`. If it has the message in `queued`, and no
 * end of that call, then it lost its last seconds in a failover: the call may have been made.
 */
async function doubtForgotten(store: Store, messageId: string, attemptId: string): Promise<void> {
  const message = await store.message(messageId);
  if (message?.status !== "queued") return;
  const detail =
    "The database lost its last seconds, and with them what became of a call; it is not sent again by itself.";
  await store.recordOutcome({
    ...outcomeOf(messageId, attemptId),
    result: "unknown",
    code: "attempt_forgotten",
    detail,
  });
}

/** A payload that makes no sense fails alone; its message, if it names its own, says so. */
async function parse(job: Job<unknown>, { channels, store }: RunJobDeps): Promise<MessageJob> {
  const parsed = messageJobSchema.safeParse(job.data);
  const channel = parsed.success ? channels.get(parsed.data.channel)?.channel : undefined;
  const content = parsed.success ? channel?.content.safeParse(parsed.data.content) : undefined;
  if (parsed.success && content?.success) return { ...parsed.data, content: content.data };

  const issues = parsed.error?.issues ?? content?.error?.issues ?? [];
  const words = issues.map(({ path, message }) => `${path.join(".") || "payload"}: ${message}`).join("; ");
  const detail = `The job's payload is not valid: ${words || "unknown channel"}.`;
  const id = (job.data as { messageId?: unknown } | null)?.messageId;
  if (typeof id === "string" && id === job.id) return refuse(store, id, "invalid_job", detail);
  throw new UnrecoverableError(detail);
}

/** Ends a message before any attempt. */
async function refuse(store: Store, messageId: string, code: string, detail: string): Promise<never> {
  await store.recordOutcome({ ...outcomeOf(messageId), code, detail }).catch((error: unknown) => {
    // An id that the ledger cannot even read: the failed job stays to be seen, and says what was wrong.
    if (error instanceof UnavailableError) throw error;
  });
  throw new UnrecoverableError(`${code}: ${detail}`);
}

/** A job that waits where no worker has its sender goes on in the right lane; answers which. */
async function moveToLane(
  job: Job<unknown>,
  data: MessageJob,
  current: string | undefined,
  provider: Provider,
  { channels, enqueue }: RunJobDeps,
): Promise<string | undefined> {
  const queue = channels.get(data.channel)?.channel.queue;
  if (!provider.lanes || queue === undefined) return undefined;
  const key = { accountId: data.accountId, sender: data.from, recipient: data.to };
  const lane = await provider.lanes.laneOf(key, current);
  if (lane === undefined || lane === job.queueName) return undefined;
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
