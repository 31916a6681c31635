import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import type { Clock } from "../core/clock.ts";
import { UnavailableError } from "../core/errors.ts";
import { chunkJobId, HUNT_QUEUE, huntJobIds } from "../hunt/hunt.jobs.ts";
import type { Queues } from "../queues/index.ts";
import { withRedis } from "../queues/redis.ts";
import { removeJobs } from "../queues/removal.ts";
import type { Store } from "../store/store.ts";
import type { Loops } from "./loops.ts";
import { sweepRecurrences } from "./recurrences.ts";
import { requeueOrphans } from "./requeue.ts";

export interface SweeperOptions {
  store: Store;
  queues: Queues;
  clock: Clock;
  log: Logger;
  /** Between two rounds, milliseconds. */
  intervalMs: number;
  loops: Loops;
}

/** Messages compared in one go. */
const PAGE = 1000;
/** Pages a round: a backlog of any length costs the same small share of a second; it is gone through in turns. */
const PAGES_A_ROUND = 10;
/** What nobody waits for, as forgetting what is old, comes once in so many rounds. */
const ROUNDS_TO_TIDY = 4;
/** Hunts at a time that are looked at for whether they are over, to keep their counts. */
const TALLIES = 200;
/** A message that was touched more recently is still on its way into its queue, milliseconds. */
const SETTLED_MS = 5000;
/** A round that hangs in a dependency is not waited for at the end: all that it may still do is safe to do. */
const STOP_TIMEOUT_MS = 1000;

export interface Sweeper {
  /** From now on go through the whole backlog without a pause: Redis may have lost something. */
  hurry(): void;
  stop(): Promise<void>;
}

/**
 * Finds what the ledger says is to be done and no job does: the process died between ledger and queue, Redis was away
 * when it was accepted, was emptied, or was restored from an older file. Such work is queued again; whether it may
 * still be sent is decided, as always, when its job asks the ledger. The first round goes through everything.
 */
export function startSweeper({ store, queues, clock, log, intervalMs, loops }: SweeperOptions): Sweeper {
  const stopping = new AbortController();
  const loop = loops.watch("sweeper", intervalMs);
  let roundsToTidy = 0;
  let after = 0;
  let hurried = true;

  async function sweepMessages(moved: () => void): Promise<number> {
    let requeued = 0;
    for (let pages = 0; hurried || pages < PAGES_A_ROUND; pages++) {
      const page = await store.openMessages(after, PAGE, SETTLED_MS);
      requeued += await requeueOrphans(
        page.filter(({ held }) => !held),
        queues,
        store,
      );
      moved();
      const last = page.at(-1);
      if (!last || page.length < PAGE) {
        after = 0;
        hurried = false;
        break;
      }
      after = last.seq;
      if (stopping.signal.aborted) break;
    }
    return requeued;
  }

  /** That of a single chunk does where a version before has added it. */
  async function waitsForChunks(jobId: string): Promise<boolean> {
    const state = await withRedis("a job's state", async () => queues.get(HUNT_QUEUE)?.getJobState(jobId));
    return state === "waiting-children";
  }

  async function sweepSubmissions(moved: () => void): Promise<number> {
    let requeued = 0;
    for (const { jobId, huntId, chunks, open } of await store.openSubmissions(SETTLED_MS)) {
      // The whole's job waits for those of its chunks: one that is gone would keep it waiting for ever.
      const ids = huntJobIds({ jobId, chunks }, open);
      if (chunks === 1 && (await waitsForChunks(jobId))) ids.push(chunkJobId(jobId, 0));
      const { missing, ended } = await queues.idle(HUNT_QUEUE, ids);
      moved();
      if (missing.length + ended.length === 0) continue;
      await queues.removeHunt(jobId, chunks);
      await queues.addHunt({ jobId, huntId, chunks });
      requeued += 1;
    }
    return requeued;
  }

  async function sweepCancelled(moved: () => void): Promise<void> {
    while (!stopping.signal.aborted && (await store.flows.continueCancelling(PAGE)) === PAGE) moved();
  }

  async function sweepFallbacks(moved: () => void): Promise<void> {
    while (!stopping.signal.aborted && (await store.flows.continueFallbacks(PAGE)) === PAGE) moved();
  }

  /** What an erasure could not take away at once, because a worker had it in hand or Redis was away. */
  async function sweepErasures(): Promise<void> {
    const erased = await store.compliance.resumeErasures([]);
    if (erased.length === 0) return;
    const done = await removeJobs(queues, erased);
    if (done.length > 0) await store.compliance.resumeErasures(done);
  }

  /** Each step by itself: one that fails must not keep the others from their work. */
  async function step<T>(name: string, run: (moved: () => void) => Promise<T>): Promise<T | undefined> {
    try {
      return await loop.step(name, run);
    } catch (error) {
      if (error instanceof UnavailableError) log.debug({ err: error, step: name }, "sweep put off");
      else log.error({ err: error, step: name }, "sweep failed");
      return undefined;
    }
  }

  async function round(): Promise<void> {
    const submissions = (await step("submissions", sweepSubmissions)) ?? 0;
    const messages = (await step("messages", sweepMessages)) ?? 0;
    await step("cancelled hunts", sweepCancelled);
    await step("fallbacks", sweepFallbacks);
    await step("erasures", sweepErasures);
    await step("recurrences", () => sweepRecurrences(store.recurrences, queues.recurrences, clock.now()));
    if (--roundsToTidy <= 0) {
      const tallied = await step("tallies", () => store.hunts.keepTallies(TALLIES));
      const tidied = await step("tidy", () => store.tidy().then(() => true));
      // What has failed, or has not come to its end, goes on with the next round.
      if (tallied !== undefined && tallied < TALLIES && tidied) roundsToTidy = ROUNDS_TO_TIDY;
    }
    if (messages + submissions > 0) log.warn({ messages, submissions }, "work without a job was queued again");
  }

  const running = (async () => {
    while (!stopping.signal.aborted) {
      await round();
      await delay(intervalMs, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  })();

  return {
    hurry() {
      after = 0;
      hurried = true;
    },
    async stop() {
      stopping.abort();
      await Promise.race([running, delay(STOP_TIMEOUT_MS, undefined, { ref: false })]);
    },
  };
}
