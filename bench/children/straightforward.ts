import { createClient } from "@supabase/supabase-js";
import { Worker } from "bullmq";
import { Redis } from "ioredis";
import { serveTask } from "../child.ts";

/** The straightforward way: before the call an insert, after it an update, each a request of its own. */
export interface StraightforwardTask {
  redisUrl: string;
  prefix: string;
  queues: string[];
  concurrency: number;
  supabaseUrl: string;
  supabaseServiceKey: string;
}

interface Data {
  messageId: string;
  accountId: string;
  adId: string;
  channel: string;
  to: string;
  content: unknown;
}

await serveTask<StraightforwardTask>(async (task) => {
  const { prefix, concurrency } = task;
  const connection = new Redis(task.redisUrl, { maxRetriesPerRequest: null });
  const supabase = createClient(task.supabaseUrl, task.supabaseServiceKey, { auth: { persistSession: false } });
  const send = async (queue: string, data: Data): Promise<void> => {
    const row = {
      id: data.messageId,
      account_id: data.accountId,
      ad_id: data.adId,
      channel: data.channel,
      queue,
      recipient: data.to,
      content: data.content,
      status: "sending",
    };
    await supabase.from("messages").insert(row).throwOnError();
    const change = { status: "sent", sent_at: new Date().toISOString() };
    await supabase.from("messages").update(change).eq("id", data.messageId).throwOnError();
  };
  const workers = task.queues.map(
    (queue) => new Worker<Data>(queue, ({ data }) => send(queue, data), { connection, prefix, concurrency }),
  );
  await Promise.all(workers.map((worker) => worker.waitUntilReady()));
  return async () => undefined;
});
