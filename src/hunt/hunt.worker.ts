import { randomUUID } from "node:crypto";
import { UnrecoverableError, type Job } from "bullmq";
import type { Rules } from "../core/rules.ts";
import type { Store } from "../store/store.ts";
import type { Contact } from "./contacts.ts";
import {
  huntJobSchema,
  planJobSchema,
  RECUR_JOB,
  recurJobSchema,
  type HuntJob,
  type PlanJob,
  type RecurJob,
} from "./hunt.jobs.ts";
import { isRun } from "./recurring.ts";
import { withTimes } from "./timing.ts";
import { planChunk, type PlanChannels } from "./plan.ts";

export interface HuntWorkerDeps {
  store: Store;
  /** Rejects with `UnavailableError` while Redis is away. */
  enqueueHunt(hunt: HuntJob): Promise<void>;
  /** There is something new to be fed to the channels' queues. */
  wake(): void;
  channels: PlanChannels;
  /** What the account's policy says of each contact. */
  rules: Rules;
  /** The time zone of who holds a number, E.164. */
  zoneOf(e164: string): string | undefined;
}

/**
 * Plans one chunk, submits a run of a recurrence, or, when all of a submission's chunks are planned, ends the submission. Safe to run
 * again.
 */
export async function runHuntJob(job: Job<unknown>, deps: HuntWorkerDeps): Promise<{ queued: number } | undefined> {
  if (job.name === "plan") return runPlan(parse(planJobSchema, job), deps);
  if (job.name === RECUR_JOB) return runRecurrence(job, parse(recurJobSchema, job), deps);
  const { jobId, chunks } = parse(huntJobSchema, job);
  const planned = chunks === 1 ? await runPlan({ jobId, no: 0 }, deps) : undefined;
  await deps.store.finishSubmission(jobId);
  return planned;
}

async function runPlan(
  { jobId, no }: Pick<PlanJob, "jobId" | "no">,
  { store, wake, channels, rules, zoneOf }: HuntWorkerDeps,
): Promise<{ queued: number }> {
  const chunk = await store.readChunk(jobId, no);
  if (!chunk) throw new UnrecoverableError("The ledger does not know this submission, so nothing was planned.");
  if (!chunk.contacts) return { queued: 0 };
  const contacts = chunk.contacts as Contact[];
  const messages = withTimes(planChunk(chunk, contacts, channels, rules), contacts, chunk, zoneOf);
  const queued = await store.planChunk(jobId, no, chunk.huntId, messages);
  if (queued.size > 0) wake();
  return { queued: queued.size };
}

/** Submits the hunt of this run. Whoever dies before its jobs are there leaves an open submission, which the sweeper finds. */
async function runRecurrence(
  job: Job<unknown>,
  { recurrenceId, at = job.opts.prevMillis }: RecurJob,
  { store, enqueueHunt }: HuntWorkerDeps,
): Promise<undefined> {
  if (at === undefined) throw new UnrecoverableError("The job does not say for when it is.");
  const recurrence = await store.recurrences.find(recurrenceId);
  if (!recurrence) return;
  // Whoever has changed Redis does not have people contacted more often.
  if (!isRun(recurrence, at)) throw new UnrecoverableError("The recurrence has no run at this time.");
  const jobId = randomUUID();
  const run = await store.recurrences.run(recurrenceId, new Date(at).toISOString(), jobId);
  if (run) await enqueueHunt({ jobId, ...run });
}

function parse<T>(schema: { safeParse(data: unknown): { success: boolean; data?: T } }, job: Job<unknown>): T {
  const { success, data } = schema.safeParse(job.data);
  if (!success || data === undefined) throw new UnrecoverableError("The job's payload is not valid.");
  return data;
}
