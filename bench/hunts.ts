import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { messagesOf } from "../src/queues/bundles.ts";
import { CHANNEL_QUEUES, type Arena, type ChannelName, type NewJob } from "./arena.ts";
import type { ServiceProcess } from "./service.ts";

export const TEXT =
  "Bonjour, votre annonce est-elle toujours disponible ? Je serais ravi d'en parler avec vous. Bien à vous, Camille";

/** Which way N contacts go: all over one channel, or in turns over each. */
export const SPREADS: Record<string, ChannelName[]> = {
  "one channel": ["sms"],
  "three channels": ["sms", "whatsapp_text", "ringless_voice"],
};

export const queuesOf = (channels: readonly ChannelName[]): string[] =>
  channels.map((channel) => CHANNEL_QUEUES[channel]);

/** A French mobile number of its own for each index; none with the last four digits of the sandbox's magic numbers. */
export function phoneOf(index: number): string {
  return `+336${String(1000 + Math.floor(index / 9000)).padStart(4, "0")}${1000 + (index % 9000)}`;
}

export function huntBody(accountId: string, n: number, channels: readonly ChannelName[]): string {
  const contacts = Array.from({ length: n }, (_, i) => ({
    adId: `ad_${i}`,
    recipientPhone: phoneOf(i),
    channel: channels[i % channels.length],
    message: TEXT,
  }));
  return JSON.stringify({ huntId: `hunt_${randomUUID()}`, accountId, contacts });
}

/**
 * Submits a hunt of N contacts while its channel queues are paused, and waits until each is planned.
 *
 * @returns seconds from the request to its 202, and from the 202 to the last contact in the ledger
 */
export async function planHunt(
  arena: Arena,
  service: ServiceProcess,
  n: number,
  channels: readonly ChannelName[],
): Promise<{ acceptSeconds: number; planSeconds: number }> {
  const queues = queuesOf(channels);
  for (const name of queues) await arena.queue(name).pause();
  const body = huntBody(arena.accountId, n, channels);
  const asked = performance.now();
  await service.post("/api/hunt/execute", body);
  const accepted = performance.now();
  const planned = await arena.until(["hunt"], (unfinished) => unfinished === 0, service);
  return { acceptSeconds: (accepted - asked) / 1000, planSeconds: (planned - accepted) / 1000 };
}

/** A job of a planned queue, to copy: the bare side gets jobs of the very same shape and options. */
export async function sampleJob(arena: Arena, queueName: string): Promise<NewJob> {
  const [job] = await arena.queue(queueName).getJobs(["waiting"], 0, 0);
  if (!job) throw new Error(`queue ${queueName} is empty`);
  const [message] = messagesOf(job.data);
  if (!message) return { name: job.name, data: job.data, opts: job.opts };
  return { name: message.channel, data: message, opts: { attempts: 3, backoff: { type: "exponential", delay: 2000 } } };
}

/** N jobs like `sample`, each with its own id and number. */
export function bareJobs(n: number, sample: NewJob): NewJob[] {
  const { data, opts, name } = sample;
  const { timestamp: _, delay: __, jobId: ___, ...rest } = opts as Record<string, unknown>;
  return Array.from({ length: n }, (___unused, i) => {
    const id = randomUUID();
    return {
      name,
      data: { ...(data as object), messageId: id, adId: `ad_${i}`, to: phoneOf(i) },
      opts: { ...rest, jobId: id },
    };
  });
}

const POLL_MS = 50;

/**
 * Lets paused queues go; seconds until nothing of the ledger is open. While nothing of a hunt moves it is looked at less
 * and less often; here the bench has held it up, so it is made due.
 */
export async function sendAll(arena: Arena, queues: readonly string[]): Promise<number> {
  await arena.database.sql.query("update flows set due_at = now(), moved_at = now()");
  const since = performance.now();
  await Promise.all(queues.map((name) => arena.queue(name).resume()));
  for (let open = true; open;) {
    await delay(POLL_MS);
    const one = await arena.database.sql.query("select 1 from messages where settled_at is null limit 1");
    open = one.rowCount === 1;
  }
  return (performance.now() - since) / 1000;
}
