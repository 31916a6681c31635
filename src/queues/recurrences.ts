import type { JobsOptions, Queue } from "bullmq";
import { recurJobId, RECUR_JOB, type RecurJob } from "../hunt/hunt.jobs.ts";
import { withRedis } from "./redis.ts";

/** When the runs of a recurrence come. */
export interface Recurring {
  recurrenceId: string;
  pattern: string;
  timeZone: string;
  /** ISO 8601. */
  until: string | null;
}

/** As Redis has it, which may be another than the ledger's. */
export interface Scheduled extends Recurring {
  /** Of its job, milliseconds since the epoch. */
  nextAt: number;
}

/** The schedulers of recurrences, in the hunt queue. All reject with `UnavailableError` while Redis is away. */
export interface Recurrences {
  /** Has its runs come from now on; said again it changes nothing. */
  schedule(recurrence: Recurring): Promise<void>;
  unschedule(recurrenceId: string): Promise<void>;
  /** All schedulers, by their recurrence. */
  scheduled(): Promise<Map<string, Scheduled>>;
  /** Whether a scheduler's job for a time is there, waiting or done. */
  hasJob(recurrenceId: string, at: number): Promise<boolean>;
  /** A run that its scheduler was not there for; said again it changes nothing. */
  makeUp(recurrenceId: string, at: number): Promise<void>;
}

export function createRecurrences(queue: Queue, opts: JobsOptions): Recurrences {
  return {
    async schedule({ recurrenceId, pattern, timeZone: tz, until }) {
      const repeat = { pattern, tz, ...(until === null ? {} : { endDate: until }) };
      const data: RecurJob = { recurrenceId };
      await withRedis("scheduling a recurrence", () =>
        queue.upsertJobScheduler(recurrenceId, repeat, { name: RECUR_JOB, data, opts }),
      );
    },
    async unschedule(recurrenceId) {
      await withRedis("unscheduling a recurrence", () => queue.removeJobScheduler(recurrenceId));
    },
    async scheduled() {
      const schedulers = await withRedis("looking for schedulers", () => queue.getJobSchedulers());
      return new Map(
        schedulers.map(({ key, pattern = "", tz = "", endDate, next, template }) => {
          const recurrenceId = String((template?.data as Partial<RecurJob> | undefined)?.recurrenceId);
          const until = endDate === undefined ? null : new Date(endDate).toISOString();
          return [key, { recurrenceId, pattern, timeZone: tz, until, nextAt: next ?? 0 }];
        }),
      );
    },
    async hasJob(recurrenceId, at) {
      return (await withRedis("looking for a run", () => queue.getJob(`repeat:${recurrenceId}:${at}`))) !== undefined;
    },
    async makeUp(recurrenceId, at) {
      const data: RecurJob = { recurrenceId, at };
      await withRedis("adding a run", () =>
        queue.add(RECUR_JOB, data, { ...opts, jobId: recurJobId(recurrenceId, at) }),
      );
    },
  };
}
