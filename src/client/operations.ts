import type { Calls } from "./calls.ts";
import { part, queryOf } from "./paths.ts";
import type { Result } from "./result.ts";
import type {
  AcceptedMessage,
  CallOptions,
  FailedJobPage,
  FailedJobsOptions,
  Health,
  Job,
  PostOptions,
  QueueStats,
  Readiness,
  RetriedJobs,
  Sender,
} from "./shapes.ts";

/** Jobs, queues, senders, and whether the service works. */
export interface OperationCalls {
  /** A job of a queue; finished ones are kept for a while. Errors: `not_found`. */
  job(queue: string, jobId: string, options?: CallOptions): Promise<Result<Job>>;
  /** Tries a failed message again, where it provably was not sent. Errors: `not_found`, `not_retryable`. */
  retryJob(queue: string, jobId: string, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  /** Failed jobs of a queue, the last to fail first, and which can be tried again. Errors: `not_found`. */
  failedJobs(queue: string, options?: FailedJobsOptions): Promise<Result<FailedJobPage>>;
  /** Tries those of a page of failed jobs again that provably were not sent. Errors: `not_found`. */
  retryFailedJobs(queue: string, options?: FailedJobsOptions): Promise<Result<RetriedJobs>>;
  /** The same as `retryJob`. */
  retryFailedJob(queue: string, jobId: string, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  /** One queue, or without a name all of them. Errors: `not_found`. */
  queueStats(queue: string, options?: CallOptions): Promise<Result<QueueStats>>;
  queueStats(options?: CallOptions): Promise<Result<{ queues: QueueStats[] }>>;
  /** How fast each sender sends that a provider limits, and why not faster. */
  senders(options?: CallOptions): Promise<Result<{ senders: Sender[] }>>;
  /** Whether the process is alive. */
  health(options?: CallOptions): Promise<Result<Health>>;
  /** Whether the service can do its work. "No" is a value too: `{ ready: false, checks }`. */
  ready(options?: CallOptions): Promise<Result<Readiness>>;
}

export function operationCalls({ call, get, post }: Calls): OperationCalls {
  return {
    job: (queue, jobId, options) => get(`/api/jobs/${part(queue)}/${part(jobId)}`, options),
    retryJob: (queue, jobId, options) => post(`/api/jobs/${part(queue)}/${part(jobId)}/retry`, undefined, options),
    failedJobs: (queue, { signal, ...filter } = {}) =>
      get(`/api/queues/${part(queue)}/failed${queryOf(filter)}`, { signal }),
    retryFailedJobs: (queue, { signal, ...filter } = {}) =>
      post(`/api/queues/${part(queue)}/failed/retry${queryOf(filter)}`, undefined, { signal }),
    retryFailedJob: (queue, jobId, options) =>
      post(`/api/queues/${part(queue)}/failed/${part(jobId)}/retry`, undefined, options),
    queueStats: ((queue?: string | CallOptions, options?: CallOptions) =>
      typeof queue === "string"
        ? get(`/api/queues/${part(queue)}/stats`, options)
        : get("/api/queues/stats", queue)) as OperationCalls["queueStats"],
    senders: (options) => get("/api/senders", options),
    health: (options) => get("/health", options),
    ready: ({ signal } = {}) => call({ method: "GET", path: "/ready", signal, alsoGood: 503 }),
  };
}
