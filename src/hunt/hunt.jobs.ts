import { z } from "zod";

/** The queue of the job kinds below. */
export const HUNT_QUEUE = "hunt";

/** A submission as a whole: done when each of its chunks is planned. The only chunk of one is planned by this very job. */
export const huntJobSchema = z.object({ jobId: z.uuid(), huntId: z.string(), chunks: z.number().int().positive() });
export type HuntJob = z.output<typeof huntJobSchema>;

/** One chunk of a submission. */
export const planJobSchema = z.object({ jobId: z.uuid(), huntId: z.string(), no: z.number().int().nonnegative() });
export type PlanJob = z.output<typeof planJobSchema>;

/** The id of a chunk's job. */
export const chunkJobId = (jobId: string, no: number): string => `${jobId}-${no}`;

/** The ids of a submission's jobs, as far as these chunks have some. */
export const huntJobIds = ({ jobId, chunks }: Omit<HuntJob, "huntId">, nos: readonly number[]): string[] =>
  chunks === 1 ? [jobId] : [jobId, ...nos.map((no) => chunkJobId(jobId, no))];

/** A run of a recurrence: at the time of its scheduler, or at one that was missed (milliseconds since the epoch). */
export const RECUR_JOB = "recur";
export const recurJobSchema = z.object({ recurrenceId: z.uuid(), at: z.number().int().optional() });
export type RecurJob = z.output<typeof recurJobSchema>;

/** The id of a missed run's job. */
export const recurJobId = (recurrenceId: string, at: number): string => `${recurrenceId}-${at}`;
