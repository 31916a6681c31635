import { randomUUID } from "node:crypto";
import type { z } from "zod";
import type { Clock } from "../core/clock.ts";
import { check } from "../core/faults.ts";
import { invalidRequest, type Fault } from "../core/problem.ts";
import type { Line, RouteReply, StreamRule } from "../core/route.ts";
import type { Acceptance, NewHunt, Store } from "../store/store.ts";
import { copyCounter, readContact, type ChannelDirectory, type Contact } from "./contacts.ts";
import { CHUNK_SIZE } from "./plan.ts";
import { createTiming, type Timing } from "./timing.ts";

interface AcceptedBody {
  jobId: string;
  huntId: string;
  accepted: number;
}

/** Queues what was accepted, and answers; throws the problem that a refusal is. */
export type ReplyTo = (
  answer: Acceptance<AcceptedBody>,
  jobId: string,
  huntId: string,
  chunks: number,
) => Promise<RouteReply>;

export interface HuntStreamDeps {
  store: Store;
  channels: ChannelDirectory;
  clock: Clock;
  /** A hunt without its contacts. */
  head: z.ZodObject;
  maxContacts: number;
  refuseAccount(store: Store, accountId: string): Promise<void>;
  replyTo: ReplyTo;
}

/** Where so many are wrong, the first ones tell enough. */
const MAX_FAULTS = 1000;

/** A hunt as NDJSON: its head on the first line, then a contact a line, which are staged as they arrive. */
export function createHuntStream(deps: HuntStreamDeps): StreamRule {
  const { store, channels, clock, head, maxContacts, refuseAccount, replyTo } = deps;

  async function take(lines: AsyncIterable<Line>, jobId: string): Promise<{ hunt: NewHunt; contacts: number }> {
    const faults: Fault[] = [];
    const copyOf = copyCounter();
    let hunt: Pick<NewHunt, "id" | "accountId" | "priority"> | undefined;
    let timing: Timing | undefined;
    let contacts = 0;
    let chunk: Contact[] = [];
    const stage = async (): Promise<void> => {
      // Once something is wrong nothing is taken: the rest is only read to be checked.
      if (faults.length === 0)
        await store.stageChunks(jobId, [{ no: Math.ceil(contacts / CHUNK_SIZE) - 1, contacts: chunk }]);
      chunk = [];
    };

    for await (const line of lines) {
      const at = `/lines/${line.no}`;
      if ("fault" in line) faults.push({ pointer: at, detail: line.fault });
      else if (timing === undefined) {
        const { value, faults: wrong } = check(head, line.value, at);
        faults.push(...wrong);
        const given = (value ?? line.value ?? {}) as NewHunt & { huntId: string };
        timing = createTiming(given, clock.now(), faults, at);
        if (faults.length === 0) await refuseAccount(store, given.accountId);
        hunt = { id: given.huntId, accountId: given.accountId, priority: given.priority };
      } else {
        contacts += 1;
        const contact = readContact(line.value, at, channels, faults, timing.readSendAt);
        if (contact && faults.length === 0) chunk.push(copyOf(contact));
        if (contacts > maxContacts) {
          faults.push({
            pointer: at,
            detail: `is one too many: at most ${maxContacts} contacts a request; send further ones in another, for the same hunt`,
          });
          break;
        }
        if (contacts % CHUNK_SIZE === 0) await stage();
      }
      if (faults.length >= MAX_FAULTS) {
        faults.push({ pointer: at, detail: `was the last that was read, after ${MAX_FAULTS} faults` });
        break;
      }
    }
    if (timing === undefined && faults.length === 0)
      faults.push({ pointer: "", detail: "has no lines: the first is the hunt" });
    else if (contacts === 0 && faults.length === 0)
      faults.push({ pointer: "", detail: "has no contacts: they follow the hunt, one a line" });
    if (faults.length > 0) throw invalidRequest(faults);
    if (chunk.length > 0) await stage();
    return { hunt: { ...hunt!, sendAt: timing!.sendAt, ...timing!.end() }, contacts };
  }

  return {
    description:
      "The hunt without its contacts on the first line, then one contact a line, in UTF-8. Read as it arrives, however big; " +
      "faults are told by their lines' numbers (`/lines/17/adId`). Nothing of it counts before its end has been read: when the " +
      "connection breaks, send it again as a whole.",
    example: [
      { huntId: "hunt_123", accountId: "acc_456" },
      { adId: "ad_789", recipientPhone: "+33612345678", channel: "sms", message: "Bonjour, votre bien est-il libre ?" },
    ]
      .map((line) => `${JSON.stringify(line)}\n`)
      .join(""),
    async handle({ body, idempotency, log }) {
      const jobId = randomUUID();
      const discard = (): Promise<void> =>
        store
          .discardChunks(jobId)
          .catch((error: unknown) => log.debug({ err: error, jobId }, "staged contacts stay for an hour"));
      try {
        const { hunt, contacts } = await take(body, jobId);
        const response = { jobId, huntId: hunt.id, accepted: contacts };
        const answer = await store.acceptStaged(hunt, jobId, contacts, response, idempotency());
        if (answer.result !== "accepted") await discard();
        return await replyTo(answer, jobId, hunt.id, Math.ceil(contacts / CHUNK_SIZE));
      } catch (error) {
        await discard();
        throw error;
      }
    },
  };
}
