import { UnrecoverableError } from "bullmq";
import type { Channel } from "../channels/channel.ts";
import { messageJobSchema, type MessageJob } from "../channels/message-job.ts";
import { UnavailableError } from "../core/errors.ts";
import type { Store } from "../store/store.ts";
import { outcomeOf } from "./attempt.ts";
import type { Task } from "./task.ts";

/** A payload that makes no sense fails alone; its message, if it names its own, says so. */
export async function readJob(
  task: Task,
  { channels, store }: { channels: ReadonlyMap<string, { channel: Channel }>; store: Pick<Store, "recordOutcome"> },
): Promise<MessageJob> {
  const parsed = messageJobSchema.safeParse(task.data);
  const channel = parsed.success ? channels.get(parsed.data.channel)?.channel : undefined;
  const content = parsed.success ? channel?.content.safeParse(parsed.data.content) : undefined;
  if (parsed.success && content?.success) return { ...parsed.data, content: content.data };

  const issues = parsed.error?.issues ?? content?.error?.issues ?? [];
  const words = issues.map(({ path, message }) => `${path.join(".") || "payload"}: ${message}`).join("; ");
  const detail = `The job's payload is not valid: ${words || "unknown channel"}.`;
  const id = (task.data as { messageId?: unknown } | null)?.messageId;
  if (typeof id === "string" && id === task.id) return refuse(store, id, "invalid_job", detail);
  throw new UnrecoverableError(detail);
}

/** Ends a message before any attempt. */
export async function refuse(
  store: Pick<Store, "recordOutcome">,
  messageId: string,
  code: string,
  detail: string,
): Promise<never> {
  await store.recordOutcome({ ...outcomeOf(messageId), code, detail }).catch((error: unknown) => {
    // An id that the ledger cannot even read: the failed job stays to be seen, and says what was wrong.
    if (error instanceof UnavailableError) throw error;
  });
  throw new UnrecoverableError(`${code}: ${detail}`);
}
