import type { Job, Queue } from "bullmq";
import type { Redis } from "ioredis";
import { z } from "zod";
import { notFound } from "../core/problem.ts";
import { route, type Route } from "../core/route.ts";
import { timestamp } from "../core/text.ts";
import { FAILED_CURSOR, failedJobs } from "../queues/failed.ts";
import type { Queues } from "../queues/index.ts";
import type { DeadLetter } from "../store/dead-letters.ts";
import type { Store } from "../store/store.ts";
import { firstLine } from "./jobs.routes.ts";
import { requeue } from "./requeue.ts";
import { RETRY_RESPONSES, retryJob, whyNot } from "./retry.ts";

/** Jobs that get their new ones at the same time. */
const AT_ONCE = 20;
/** A job of a hunt or of a webhook is tried until it succeeds, unless what it carries is refused each time. */
const NO_MESSAGE = "This is not a message's job: it failed because of what it carries, and would again.";

const failedSchema = z.object({
  jobId: z.string(),
  queue: z.string(),
  name: z.string().describe("A message's channel, or what else the job is about"),
  messageId: z.string().nullable().describe("Null: it is not a message's job"),
  accountId: z.string().nullable(),
  huntId: z.string().nullable(),
  channel: z.string().nullable(),
  attempts: z.number().int().describe("Tries that have ended"),
  failedAt: timestamp().nullable(),
  code: z.string().nullable().describe("With what code the message failed"),
  why: z.string().describe("Why it failed, in words"),
  retryable: z.boolean().describe("Trying it again is safe, and possible now"),
  whyNot: z.string().nullable().describe("Why it cannot be tried again, in words"),
});

const ID = "1b4e28ba-2fa1-41d2-883f-0016d3cca427";
const EXAMPLE = {
  jobId: ID,
  queue: "sms",
  name: "sms",
  messageId: ID,
  accountId: "acc_456",
  huntId: "hunt_123",
  channel: "sms",
  attempts: 3,
  failedAt: "2026-11-22T09:00:00.000Z",
  code: "twilio_20500",
  why: "The provider is not well.",
  retryable: true,
  whyNot: null,
};

const cursor = z
  .string()
  .regex(FAILED_CURSOR, "is not a cursor that this route gave")
  .optional()
  .describe("A `nextCursor`");
const limitOf = (most: number, usual: number) => z.coerce.number().int().min(1).max(most).default(usual);

/** Failed jobs: what they are, and trying again those that provably were not sent. */
export function failedRoutes(deps: { queues: Queues; store: Store; redis: Redis }): Route[] {
  const { queues, store } = deps;
  const inQueue = z.object({ queue: z.string().min(1).max(100) });
  const queueOf = async (name: string): Promise<Queue> => {
    const queue = await queues.existing(name);
    if (!queue) throw notFound("queue", name);
    return queue;
  };
  /** By id. A message that belongs to another queue is not this job's, whatever the job is called. */
  const lettersOf = async (queue: string, jobs: readonly Job[]): Promise<Letters> => {
    const letters = await store.deadLetters.look(jobs.flatMap((job) => messageIdOf(job) ?? []));
    return new Map(letters.filter((letter) => letter.queue === queue).map((letter) => [letter.id, letter]));
  };
  const shared = { tag: "Queues" } as const;
  const missing = { 404: { description: "There is no such queue." } };

  return [
    route({
      ...shared,
      method: "get",
      path: "/api/queues/:queue/failed",
      summary: "Failed jobs of a queue, and which can be tried again",
      params: inQueue,
      query: z.object({ cursor, limit: limitOf(200, 50) }),
      responses: {
        200: {
          description: "The last to fail first. Give `nextCursor` back to go on.",
          schema: z.object({ jobs: z.array(failedSchema), nextCursor: z.string().nullable() }),
          example: { jobs: [EXAMPLE], nextCursor: null },
        },
        ...missing,
      },
      async handle({ params, query }) {
        const { jobs, nextCursor } = await failedJobs(deps, await queueOf(params.queue), query);
        const letters = await lettersOf(params.queue, jobs);
        const views = jobs.map((job) => viewOf(params.queue, job, letters));
        return { status: 200, body: { jobs: views, nextCursor: nextCursor ?? null } };
      },
    }),
    route({
      ...shared,
      method: "post",
      path: "/api/queues/:queue/failed/retry",
      summary: "Try all failed messages of a queue again that are safe to try",
      description:
        "Looks at `limit` failed jobs, the last to fail first; give `nextCursor` back to go on with the others. Only what " +
        "provably was not sent is sent again, so that nobody is contacted twice, also when this is said twice.",
      params: inQueue,
      query: z.object({ cursor, limit: limitOf(1000, 500) }),
      responses: {
        200: {
          description: "How many are queued again, and why the others are not.",
          schema: z.object({
            retried: z.number().int(),
            refused: z.array(z.object({ whyNot: z.string(), count: z.number().int() })),
            nextCursor: z.string().nullable(),
          }),
          example: {
            retried: 12,
            refused: [{ whyNot: whyNot("not_safe", undefined), count: 3 }],
            nextCursor: null,
          },
        },
        ...missing,
      },
      async handle({ params, query }) {
        const { jobs, nextCursor } = await failedJobs(deps, await queueOf(params.queue), query);
        const letters = await lettersOf(params.queue, jobs);
        const reasons = jobs.flatMap((job) => reasonOf(job, letters) ?? []);
        const safe = [...letters.values()].filter(({ result }) => result === "accepted").map(({ id }) => id);
        const answers = await store.deadLetters.retry(safe);
        reasons.push(...answers.flatMap(({ result, status }) => whyNot(result, status) ?? []));
        const accepted = answers.filter(({ result }) => result === "accepted").map(({ id }) => id);
        for (let i = 0; i < accepted.length; i += AT_ONCE) {
          await Promise.all(accepted.slice(i, i + AT_ONCE).map((id) => requeue(queues, params.queue, id)));
        }
        const refused = [...Map.groupBy(reasons, (reason) => reason)].map(([reason, all]) => ({
          whyNot: reason,
          count: all.length,
        }));
        return { status: 200, body: { retried: accepted.length, refused, nextCursor: nextCursor ?? null } };
      },
    }),
    route({
      ...shared,
      method: "post",
      path: "/api/queues/:queue/failed/:jobId/retry",
      summary: "Try a failed message of a queue again",
      description: "The same as `POST /api/jobs/{queue}/{jobId}/retry`.",
      idempotent: true,
      params: inQueue.extend({ jobId: z.string().min(1).max(200) }),
      responses: RETRY_RESPONSES,
      handle: ({ params, idempotency }) => retryJob(deps, params, idempotency),
    }),
  ];
}

type Letters = ReadonlyMap<string, DeadLetter>;

/** A message's job has the message's id. */
function messageIdOf(job: Job): string | undefined {
  return z.uuid().safeParse(job.id).data;
}

/** Why it is not tried again, in words; undefined: it can be. */
function reasonOf(job: Job, letters: Letters): string | undefined {
  const id = messageIdOf(job);
  if (id === undefined) return NO_MESSAGE;
  const letter = letters.get(id);
  return whyNot(letter?.result ?? "missing", letter?.status);
}

function viewOf(queue: string, job: Job, letters: Letters): z.output<typeof failedSchema> {
  const letter = letters.get(job.id ?? "");
  const reason = reasonOf(job, letters);
  return {
    jobId: job.id ?? "",
    queue,
    name: job.name,
    messageId: messageIdOf(job) ?? null,
    accountId: letter?.accountId ?? null,
    huntId: letter?.huntId ?? null,
    channel: letter?.channel ?? null,
    attempts: job.attemptsMade,
    failedAt: job.finishedOn ? new Date(job.finishedOn).toISOString() : null,
    code: letter?.code ?? null,
    why: letter?.detail ?? (firstLine(job.failedReason ?? "") || "It does not say why."),
    retryable: reason === undefined,
    whyNot: reason ?? null,
  };
}
