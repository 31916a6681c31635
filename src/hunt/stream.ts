import { randomUUID } from "node:crypto";
import type { RouteReply, StreamRule } from "../core/route.ts";
import type { Acceptance, Store } from "../store/store.ts";
import { newHuntOf, refuseAccount, type HuntBodyReader } from "./body.ts";
import type { ChannelDirectory } from "./contacts.ts";
import { LINES_EXAMPLE, readHuntLines } from "./lines.ts";
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

/** A hunt as NDJSON: its head on the first line, then a contact a line, which are staged as they arrive. */
export function createHuntStream(deps: HuntStreamDeps): StreamRule {
  const { store, channels, readHead, replyTo } = deps;

  return {
    description:
      "The hunt without its contacts on the first line, then one contact a line, in UTF-8. Read as it arrives, however big; " +
      "faults are told by their lines' numbers (`/lines/17/adId`). Nothing of it counts before its end has been read: when the " +
      "connection breaks, send it again as a whole.",
    example: LINES_EXAMPLE,
    async handle({ body, idempotency, log }) {
      const jobId = randomUUID();
      const discard = (): Promise<void> =>
        store
          .discardChunks(jobId)
          .catch((error: unknown) => log.debug({ err: error, jobId }, "staged contacts stay for an hour"));
      try {
        const { hunt, contacts } = await readHuntLines(body, {
          channels,
          readHead,
          begin: ({ accountId }) => refuseAccount(store, accountId),
          take: (chunk, total) =>
            store.stageChunks(jobId, [{ no: Math.ceil(total / CHUNK_SIZE) - 1, contacts: chunk }]),
        });
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
