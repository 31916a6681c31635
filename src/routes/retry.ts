import type { Job } from "bullmq";
import { z } from "zod";
import { notFound, ProblemError } from "../core/problem.ts";
import { HUNT_QUEUE } from "../hunt/hunt.jobs.ts";
import { refusalOf } from "../core/refusals.ts";
import type { Idempotency } from "../core/route.ts";
import type { Queues } from "../queues/index.ts";
import { withRedis } from "../queues/redis.ts";
import type { RetryResult } from "../store/dead-letters.ts";
import type { MessageStatus, Store } from "../store/store.ts";
import { requeue } from "./requeue.ts";

export const retriedSchema = z.object({ jobId: z.string(), queue: z.string(), messageId: z.string() });

const ID = "1b4e28ba-2fa1-41d2-883f-0016d3cca427";

export const RETRY_RESPONSES = {
  202: {
    description: "Queued again.",
    schema: retriedSchema,
    example: { jobId: ID, queue: "sms", messageId: ID },
  },
  404: { description: "There is no such queue or job." },
  409: {
    description: "It is not tried again.",
    codes: {
      not_retryable:
        "It has not failed, it may have been sent, its hunt is over, or there is no credit left: see `detail`.",
    },
  },
};

/** Why a message is not tried again, in words; undefined: it can be. */
export function whyNot(result: RetryResult, status: MessageStatus | undefined): string | undefined {
  switch (result) {
    case "accepted":
      return undefined;
    case "missing":
      return "The ledger does not know this job's message, so it cannot tell whether sending is safe.";
    case "not_failed":
      return `The message is ${status}: only a failed one can be tried again.`;
    case "not_safe":
      return "The provider accepted the message before it failed: trying again could send it twice.";
    case "hunt_over":
      return "Its hunt was cancelled, or its time is over: it would not be sent any more.";
    case "no_credit":
      return "The account has no credit left on this channel.";
  }
}

/** The job of that id. Throws 404 where there is none. */
export async function jobOf(queues: Queues, queueName: string, jobId: string): Promise<Job> {
  const base = queues.get(queueName);
  if (!base) throw notFound("queue", queueName);
  const queue = await queues.holding(base, jobId);
  // BullMQ keeps keys of the queue ("meta", "events") beside those of its jobs; only a job is in a state.
  const state = await withRedis("a job's state", () => queue.getJobState(jobId));
  const job = state === "unknown" ? undefined : await withRedis("a job", () => queue.getJob(jobId));
  if (!job) throw notFound(`job in queue ${queueName}`, jobId, whereElse(queueName, jobId));
  return job;
}

/** Where what has no job (any more) is told of, by an id that may be its. */
function whereElse(queue: string, jobId: string): string | undefined {
  if (!z.uuid().safeParse(jobId).success) return undefined;
  return queue === HUNT_QUEUE
    ? `Ended jobs are kept for a while only: what became of a submission is told by GET /api/hunt/status/${jobId}.`
    : `Messages of hunts share jobs to begin with, and ended jobs are kept for a while only: what became of a message is told by GET /api/messages/${jobId}.`;
}

/**
 * Tries a failed message again, where the provider has proven that it did not accept it. Throws 404 and 409 as
 * `RETRY_RESPONSES` says.
 */
export async function retryJob(
  { queues, store }: { queues: Queues; store: Store },
  { queue, jobId }: { queue: string; jobId: string },
  idempotency: Idempotency | undefined,
): Promise<{ status: 202; body: z.output<typeof retriedSchema> }> {
  if (!queues.get(queue)) throw notFound("queue", queue);
  const response = { jobId, queue, messageId: jobId };
  if (!z.uuid().safeParse(jobId).success) {
    await jobOf(queues, queue, jobId);
    throw notRetryable("This job is not a message's job.");
  }
  const message = await store.message(jobId);
  if (!message || message.queue !== queue) {
    await jobOf(queues, queue, jobId);
    throw notRetryable(whyNot("missing", undefined));
  }
  const answer = await store.retryMessage(jobId, response, idempotency);
  switch (answer.result) {
    case "accepted":
      await requeue(queues, queue, message.messageId);
      return { status: 202, body: answer.response };
    case "replay":
      return { status: 202, body: answer.response };
    case "conflict":
      throw refusalOf("conflict", "");
    case "missing":
      throw notFound(`job in queue ${queue}`, jobId);
    default:
      throw notRetryable(whyNot(answer.result, answer.status));
  }
}

function notRetryable(detail = ""): ProblemError {
  return new ProblemError({ status: 409, code: "not_retryable", title: "This cannot be tried again", detail });
}
