import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { type Client, type ClientError, createClient, type NewHunt, type Result } from "../../src/client.ts";
import { createBodies, type Single, TEXT } from "./bodies.ts";
import type { Random } from "./random.ts";

export const SECRET = "chaos-secret-0123456789";

/** What has been answered 202: from then on it must not be lost. */
export interface Promised {
  /** Contacts by hunt, those given twice included. */
  hunts: Map<string, number>;
  /** Single sends by message id, with the number each goes to. */
  singles: Map<string, string>;
  requests: number;
  /** Calls that came to no answer, and were repeated. */
  lostAnswers: number;
  /** Requests that were sent once more although they had been answered. */
  repeated: number;
  /** Answers that break the contract: another answer to the same key, or a refusal of a good request. */
  wrong: string[];
}

export interface SubmitterOptions {
  urls: readonly string[];
  random: Random;
  /** Of a recording that can be played. */
  audioUrl: string;
  /** Contacts a second. */
  rate: number;
  /** Messages that are not settled yet; above `maxOpen` the submitter rests, so that the backlog stays the machine's own. */
  open(): number;
  maxOpen: number;
  /** No new requests; those that are not answered yet go on. */
  enough: AbortSignal;
  /** Leaves the rest unanswered. */
  stopping: AbortSignal;
}

const TIMEOUT_MS = 4000;
const RETRY_MS = 300;
const MAX_UNANSWERED = 40;
const SHARE_OF_SINGLES = 0.35;
const SHARE_OF_REPEATS = 0.15;

/** Submits until `enough` aborts; `finished` resolves when every request has been answered. */
export function startSubmitter(options: SubmitterOptions): { promised: Promised; finished: Promise<void> } {
  const { urls, random, rate, open, maxOpen, enough, stopping } = options;
  const promised: Promised = {
    hunts: new Map(),
    singles: new Map(),
    requests: 0,
    lostAnswers: 0,
    repeated: 0,
    wrong: [],
  };
  const counted = async (url: string, init: RequestInit): Promise<Response> => {
    try {
      return await fetch(url, init);
    } catch (error) {
      promised.lostAnswers += 1;
      throw error;
    }
  };
  const clients = urls.map((baseUrl) =>
    createClient({ baseUrl, apiSecret: SECRET, timeoutMs: TIMEOUT_MS, retries: 1, fetch: counted }),
  );
  const bodies = createBodies(random, options.audioUrl);

  /** Calls one service, then the other, with the same key, until there is an answer. */
  async function answered<T>(
    key: string,
    call: (client: Client, key: string) => Promise<Result<T>>,
  ): Promise<T | undefined> {
    let turn = random.whole(0, clients.length - 1);
    while (!stopping.aborted) {
      const client = clients[turn++ % clients.length] as Client;
      const result = await call(client, key);
      if (result.ok) return result.value;
      if (!result.error.retryable) {
        promised.wrong.push(wordsOf(result.error));
        return undefined;
      }
      await delay(RETRY_MS);
    }
    return undefined;
  }

  async function submitHunt(hunt: NewHunt, repeat: "same key" | "new key" | "no"): Promise<void> {
    const key = randomUUID();
    const call = (client: Client, idempotencyKey: string) => client.executeHunt(hunt, { idempotencyKey });
    const answer = await answered(key, call);
    if (!answer) return;
    promised.hunts.set(hunt.huntId, hunt.contacts.length);
    if (repeat === "no") return;
    promised.repeated += 1;
    const again = await answered(repeat === "same key" ? key : randomUUID(), call);
    if (again && (again.jobId === answer.jobId) !== (repeat === "same key")) {
      promised.wrong.push(`${repeat}: submission ${answer.jobId} became ${again.jobId}`);
    }
  }

  async function submitSingle({ channel, audioUrl, ...person }: Single, repeat: boolean): Promise<void> {
    const call = (client: Client, idempotencyKey: string) => {
      if (channel === "sms") return client.sendSms({ ...person, message: TEXT }, { idempotencyKey });
      if (channel === "whatsapp_text") return client.sendWhatsAppText({ ...person, message: TEXT }, { idempotencyKey });
      const what = audioUrl === undefined ? { text: TEXT } : { audioUrl };
      return client.sendRinglessVoice({ ...person, ...what }, { idempotencyKey });
    };
    const key = randomUUID();
    const answer = await answered(key, call);
    if (!answer) return;
    promised.singles.set(answer.messageId, person.recipientPhone);
    if (!repeat) return;
    promised.repeated += 1;
    const again = await answered(key, call);
    if (again && again.messageId !== answer.messageId) {
      promised.wrong.push(`same key: message ${answer.messageId} became ${again.messageId}`);
    }
  }

  const unanswered = new Set<Promise<void>>();
  const submit = (work: Promise<void>): void => {
    promised.requests += 1;
    const tracked = work.finally(() => unanswered.delete(tracked));
    unanswered.add(tracked);
  };

  async function run(): Promise<void> {
    let dueAt = performance.now();
    while (!enough.aborted) {
      const rest = Math.max(0, dueAt - performance.now());
      await delay(rest, undefined, { signal: enough }).catch(() => {});
      if (enough.aborted) break;
      if (open() > maxOpen || unanswered.size > MAX_UNANSWERED) {
        dueAt = performance.now() + RETRY_MS;
        continue;
      }
      let contacts = 1;
      if (random.chance(SHARE_OF_SINGLES)) submit(submitSingle(bodies.single(), random.chance(SHARE_OF_REPEATS)));
      else {
        const hunt = bodies.hunt();
        contacts = hunt.contacts.length;
        const repeat = random.chance(SHARE_OF_REPEATS) ? random.pick(["same key", "new key"] as const) : "no";
        submit(submitHunt(hunt, repeat));
      }
      // What an outage has cost may be caught up with, but only a little at a time.
      dueAt = Math.max(dueAt, performance.now() - 2000) + (contacts / rate) * 1000;
    }
    while (unanswered.size > 0) await Promise.all(unanswered);
  }

  return { promised, finished: run() };
}

function wordsOf({ status, code, detail, errors }: ClientError): string {
  return `${status ?? "no answer"} ${code}: ${detail} ${errors.map(({ pointer }) => pointer).join(" ")}`;
}
