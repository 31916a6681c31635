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

/** The schedulers of recurrences, in the hunt queue. All reject with `UnavailableError` while Redis is away. */
export interface Recurrences {
  /** Has its runs come from now on; said again it changes nothing. */
  schedule(recurrence: Recurring): Promise<void>;
  unschedule(recurrenceId: string): Promise<void>;
  /** Of all that have a scheduler. */
  scheduled(): Promise<Set<string>>;
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
      return new Set(schedulers.map(({ key }) => key));
    },
    async makeUp(recurrenceId, at) {
      const data: RecurJob = { recurrenceId, at };
      await withRedis("adding a run", () =>
        queue.add(RECUR_JOB, data, { ...opts, jobId: recurJobId(recurrenceId, at) }),
      );
    },
  };
}
