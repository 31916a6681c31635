import { randomUUID } from "node:crypto";
import { invalidRequest, type Fault } from "../core/problem.ts";
import type { Line, RouteReply, StreamRule } from "../core/route.ts";
import type { Acceptance, Store } from "../store/store.ts";
import { MAX_CONTACTS, newHuntOf, refuseAccount, type HuntBodyReader, type HuntHead, type ReadHead } from "./body.ts";
import { copyCounter, readContact, type ChannelDirectory, type Contact } from "./contacts.ts";
import { CHUNK_SIZE } from "./plan.ts";

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
  readHead: HuntBodyReader["readHead"];
  replyTo: ReplyTo;
}

/** Where so many are wrong, the first ones tell enough. */
const MAX_FAULTS = 1000;

/** A hunt as NDJSON: its head on the first line, then a contact a line, which are staged as they arrive. */
export function createHuntStream(deps: HuntStreamDeps): StreamRule {
  const { store, channels, readHead, replyTo } = deps;

  async function take(lines: AsyncIterable<Line>, jobId: string): Promise<{ hunt: HuntHead; contacts: number }> {
    const faults: Fault[] = [];
    const copyOf = copyCounter();
    let head: ReadHead | undefined;
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
      if ("fault" in line) {
        const rest = head === undefined ? "; it is the hunt, and nothing after it was read" : "";
        faults.push({ pointer: at, detail: line.fault + rest });
        // Any other line would be taken for it.
        if (head === undefined) break;
      } else if (head === undefined) {
        head = await readHead(line.value, faults, at);
        if (faults.length === 0) await refuseAccount(store, head.result().accountId);
      } else {
        contacts += 1;
        const contact = readContact(line.value, at, channels, faults, head.terms);
        if (contact && faults.length === 0) chunk.push(copyOf(contact));
        if (contacts > MAX_CONTACTS) {
          faults.push({
            pointer: at,
            detail: `is one too many: at most ${MAX_CONTACTS} contacts a request; send further ones in another, for the same hunt`,
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
    if (head === undefined && faults.length === 0)
      faults.push({ pointer: "", detail: "has no lines: the first is the hunt" });
    else if (contacts === 0 && faults.length === 0)
      faults.push({ pointer: "", detail: "has no contacts: they follow the hunt, one a line" });
    if (faults.length > 0) throw invalidRequest(faults);
    if (chunk.length > 0) await stage();
    return { hunt: head!.result(), contacts };
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
        const response = { jobId, huntId: hunt.huntId, accepted: contacts };
        const answer = await store.acceptStaged(newHuntOf(hunt), jobId, contacts, response, idempotency());
        if (answer.result !== "accepted") await discard();
        return await replyTo(answer, jobId, hunt.huntId, Math.ceil(contacts / CHUNK_SIZE));
      } catch (error) {
        await discard();
        throw error;
      }
    },
  };
}
