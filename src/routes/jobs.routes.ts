import type { Job } from "bullmq";
import { z } from "zod";
import { notFound } from "../core/problem.ts";
import { route, type Route } from "../core/route.ts";
import { timestamp } from "../core/text.ts";
import type { Queues } from "../queues/index.ts";
import { withRedis } from "../queues/redis.ts";
import type { Store } from "../store/store.ts";
import { jobOf, RETRY_RESPONSES, retryJob } from "./retry.ts";

const statsSchema = z.object({
  name: z.string(),
  waiting: z.number().int().describe("Prioritised jobs included"),
  active: z.number().int(),
  completed: z.number().int(),
  failed: z.number().int(),
  delayed: z.number().int(),
  prioritized: z.number().int(),
  paused: z.boolean(),
});

const STATS_EXAMPLE: z.output<typeof statsSchema> = {
  name: "sms",
  waiting: 12,
  active: 3,
  completed: 1000,
  failed: 2,
  delayed: 4,
  prioritized: 0,
  paused: false,
};

const JOB_EXAMPLE = {
  jobId: "0198c5a2-7d5e-7b1a-9f00-3c2a8d9e4f10",
  queue: "sms",
  name: "sms",
  state: "completed",
  progress: 0,
  attempts: 1,
  maxAttempts: 3,
  errors: [],
  result: { status: "sent", providerMessageId: "SM0123456789abcdef0123456789abcdef" },
  createdAt: "2026-01-08T09:30:00.000Z",
  startedAt: "2026-01-08T09:30:00.100Z",
  finishedAt: "2026-01-08T09:30:00.400Z",
};

const jobSchema = z.object({
  jobId: z.string(),
  queue: z.string(),
  name: z.string(),
  state: z.string(),
  progress: z.unknown(),
  attempts: z.number().int().describe("Tries that have ended"),
  maxAttempts: z.number().int(),
  errors: z.array(z.string()).describe("Why tries failed, the last one last"),
  result: z.unknown(),
  createdAt: timestamp(),
  startedAt: timestamp().nullable(),
  finishedAt: timestamp().nullable(),
});

/** What operators and callers ask about queues, jobs and single messages. */
export function jobRoutes({ queues, store }: { queues: Queues; store: Store }): Route[] {
  const queueOf = async (name: string) => {
    const queue = await queues.existing(name);
    if (!queue) throw notFound("queue", name);
    return queue;
  };
  const inQueue = z.object({ queue: z.string().min(1).max(100) });
  const inJob = inQueue.extend({ jobId: z.string().min(1).max(200) });

  return [
    route({
      method: "get",
      path: "/api/queues/stats",
      tag: "Queues",
      summary: "All queues at a glance",
      responses: {
        200: {
          description: "One entry a queue.",
          schema: z.object({ queues: z.array(statsSchema) }),
          example: { queues: [STATS_EXAMPLE] },
        },
      },
      async handle() {
        return { status: 200, body: { queues: await Promise.all(queues.all.map((queue) => queues.stats(queue))) } };
      },
    }),
    route({
      method: "get",
      path: "/api/queues/:queue/stats",
      tag: "Queues",
      summary: "One queue at a glance",
      params: inQueue,
      responses: {
        200: { description: "Its jobs by state.", schema: statsSchema, example: STATS_EXAMPLE },
        404: { description: "There is no such queue." },
      },
      async handle({ params }) {
        return { status: 200, body: await queues.stats(await queueOf(params.queue)) };
      },
    }),
    route({
      method: "get",
      path: "/api/jobs/:queue/:jobId",
      tag: "Queues",
      summary: "One job",
      description:
        "A message's job has the message's id; a hunt's job is in the queue `hunt`. Finished jobs are kept for a while. Messages of hunts share jobs to begin with: `/api/messages/{messageId}` tells of those.",
      params: inJob,
      responses: {
        200: { description: "The job now.", schema: jobSchema, example: JOB_EXAMPLE },
        404: { description: "There is no such queue or job; a message may be there all the same, see above." },
      },
      async handle({ params }) {
        const job = await jobOf(queues, params.queue, params.jobId);
        const state = await withRedis("a job's state", () => job.getState());
        return { status: 200, body: jobView(params.queue, job, state) };
      },
    }),
    route({
      method: "post",
      path: "/api/jobs/:queue/:jobId/retry",
      tag: "Queues",
      summary: "Try a failed message again",
      description:
        "Only where the provider has proven that it did not accept the message, so that nobody is contacted twice.",
      idempotent: true,
      params: inJob,
      responses: RETRY_RESPONSES,
      handle: ({ params, idempotency }) => retryJob({ queues, store }, params, idempotency),
    }),
  ];
}

function jobView(queue: string, job: Job, state: string): z.output<typeof jobSchema> {
  return {
    jobId: job.id ?? "",
    queue,
    name: job.name,
    state,
    progress: job.progress,
    attempts: job.attemptsMade,
    maxAttempts: job.opts.attempts ?? 1,
    // BullMQ keeps a stack a try; its first line is the error, the rest is nobody's business outside.
    errors: (job.stacktrace?.length ? job.stacktrace : [job.failedReason ?? ""]).map(firstLine).filter(Boolean),
    result: job.returnvalue ?? null,
    createdAt: new Date(job.timestamp).toISOString(),
    startedAt: job.processedOn ? new Date(job.processedOn).toISOString() : null,
    finishedAt: job.finishedOn ? new Date(job.finishedOn).toISOString() : null,
  };
}

export function firstLine(text: string): string {
  return text.split("\n", 1)[0] ?? "";
}
