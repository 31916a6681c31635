import type { Redis } from "ioredis";
import { messageJobSchema, type MessageJob } from "../channels/message-job.ts";

/**
 * How far the messages of a bundle have come, in fields of its job beside the messages themselves, so that what is written of one does
 * not grow with the others. It goes when the job does. Waits for a Redis that is away.
 */
export interface BundleProgress {
  /** Of messages that have begun. Resolves once Redis has it; rejects when the bundle is gone. */
  keep(messages: readonly MessageJob[]): Promise<void>;
  /** Of a bundle's messages those that are not over, as far as they came. */
  open(messages: readonly MessageJob[]): Promise<MessageJob[]>;
}

/** The field of a bundle's job that tells of this message. */
export const progressField = (messageId: string): string => `at:${messageId}`;
/** What that field has when the message is over. */
export const OVER = "over";

const progressSchema = messageJobSchema.pick({ attempt: true, outcome: true });

/** A job that is gone must not be there again, as nothing but this. */
const KEEP = `
if redis.call("exists", KEYS[1]) == 0 then return 0 end
redis.call("hset", KEYS[1], unpack(ARGV))
return 1
`;

/** `key`: of the bundle's job. */
export function bundleProgress(redis: Redis, key: string): BundleProgress {
  return {
    async keep(messages) {
      const words = messages.flatMap(({ messageId, attempt, outcome }) => [
        progressField(messageId),
        JSON.stringify({ attempt, outcome }),
      ]);
      if ((await redis.eval(KEEP, 1, key, ...words)) === 0) throw new Error("The bundle is gone.");
    },

    async open(messages) {
      if (messages.length === 0) return [];
      const told = await redis.hmget(key, ...messages.map(({ messageId }) => progressField(messageId)));
      return messages.flatMap((message, i) => {
        const words = told[i] ?? null;
        if (words === OVER) return [];
        return [words === null ? message : { ...message, ...progressSchema.safeParse(JSON.parse(words)).data }];
      });
    },
  };
}
