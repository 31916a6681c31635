import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import { z } from "zod";
import type { Clock } from "../core/clock.ts";
import { UnavailableError } from "../core/errors.ts";
import { notFound } from "../core/problem.ts";
import { refusalOf, REFUSALS } from "../core/refusals.ts";
import { route, type Route } from "../core/route.ts";
import { shortText } from "../core/text.ts";
import type { Store } from "../store/store.ts";
import { MESSAGE_STATUSES } from "../store/store.ts";
import { cursorQuery, MESSAGE_PAGE_EXAMPLE, messagePageSchema, pageView } from "../store/message-view.ts";
import { huntBody, huntIdSchema, newHuntOf, refuseAccount, type HuntBody } from "./body.ts";
import type { ChannelDirectory, Contact } from "./contacts.ts";
import type { HuntJob } from "./hunt.jobs.ts";
import { STATUS_EXAMPLE, statusSchema, summarise } from "./hunt.status.ts";
import { CHUNK_SIZE } from "./plan.ts";
import { createHuntStream, type ReplyTo } from "./stream.ts";

export interface HuntRoutesDeps {
  store: Store;
  /** Queues an accepted submission. Rejects with `UnavailableError` while Redis is away. */
  enqueueHunt(hunt: HuntJob): Promise<void>;
  channels: ChannelDirectory;
  clock: Clock;
  log: Logger;
}

export function huntRoutes({ store, enqueueHunt, channels, clock, log }: HuntRoutesDeps): Route[] {
  const hunts = huntBody(channels, store, clock);

  const replyTo: ReplyTo = async (answer, jobId, huntId, chunks) => {
    if (answer.result === "differs") throw refusalOf("differs", "", answer.fields);
    if (answer.result !== "accepted" && answer.result !== "replay") throw refusalOf(answer.result, "/accountId");
    if (answer.result === "accepted") {
      await enqueueHunt({ jobId, huntId, chunks }).catch((error: unknown) => {
        // It is in the ledger: the sweeper queues it when Redis is back.
        if (!(error instanceof UnavailableError)) throw error;
        log.warn({ err: error, jobId, huntId }, "hunt accepted while Redis is away");
      });
    }
    const location = `/api/hunt/status/${answer.response.jobId}`;
    return { status: 202, body: answer.response, headers: { Location: location } };
  };

  return [
    route({
      method: "post",
      path: "/api/hunt/execute",
      tag: "Hunts",
      summary: "Contact everybody of a hunt",
      description:
        "Accepted contacts are safe in the database when the answer is given. The same contact (`adId` and `channel`) " +
        "is never contacted twice by one hunt, however often it is submitted.",
      idempotent: true,
      body: hunts.schema,
      parseBody: hunts.parse,
      bodyExample: hunts.example,
      stream: createHuntStream({ store, channels, readHead: hunts.readHead, replyTo }),
      responses: {
        202: {
          description: "Accepted.",
          headers: { Location: "Where to watch it." },
          schema: z.object({ jobId: z.uuid(), huntId: z.string(), accepted: z.number().int() }),
          example: { jobId: "7f1c9c1e-7a55-4b55-9c53-0a6d0b3f1a51", huntId: "hunt_123", accepted: 1 },
        },
        ...REFUSALS,
      },
      async handle({ body: hunt, idempotency }) {
        const { contacts, ...head } = hunt as unknown as HuntBody;
        const { huntId: id, accountId } = head;
        const jobId = randomUUID();
        const chunks: Contact[][] = [];
        for (let i = 0; i < contacts.length; i += CHUNK_SIZE) chunks.push(contacts.slice(i, i + CHUNK_SIZE));
        // A body of many megabytes is not staged for an account that will be refused.
        if (chunks.length > 1) await refuseAccount(store, accountId);
        const response = { jobId, huntId: id, accepted: contacts.length };
        const answer = await store.acceptHunt(newHuntOf(head), jobId, chunks, response, idempotency);
        return replyTo(answer, jobId, id, chunks.length);
      },
    }),

    // Before the next path, which fits the messages of a hunt called "status" too.
    route({
      method: "get",
      path: "/api/hunt/:huntId/messages",
      tag: "Hunts",
      summary: "What became of each contact",
      params: z.object({ huntId: huntIdSchema }),
      query: z.object({
        status: z.enum(MESSAGE_STATUSES).optional(),
        reason: shortText(200).optional().describe("Only those skipped for this reason, or failed with this code"),
        ...cursorQuery,
      }),
      responses: {
        200: {
          description: "Contacts in the order in which they were planned. Give `nextCursor` back to go on.",
          schema: messagePageSchema,
          example: MESSAGE_PAGE_EXAMPLE,
        },
        404: { description: "There is no such hunt." },
      },
      async handle({ params, query }) {
        const page = await store.huntMessages(params.huntId, {
          status: query.status,
          code: query.reason,
          cursor: query.cursor,
          limit: query.limit,
        });
        if (page.messages.length === 0 && !(await store.huntExists(params.huntId)))
          throw notFound("hunt", params.huntId);
        return { status: 200, body: pageView(page) };
      },
    }),

    route({
      method: "get",
      path: "/api/hunt/status/:jobId",
      tag: "Hunts",
      summary: "How far a hunt is",
      description:
        "The counts always sum to `total`. They are the whole hunt's, whichever of its submissions is asked for.",
      params: z.object({ jobId: z.string().min(1).max(200) }),
      responses: {
        200: { description: "The hunt's counts now.", schema: statusSchema, example: STATUS_EXAMPLE },
        404: { description: "There is no such submission." },
      },
      async handle({ params: { jobId } }) {
        const status = z.uuid().safeParse(jobId).success ? await store.huntStatus(jobId) : undefined;
        if (!status) throw notFound("hunt job", jobId);
        return { status: 200, body: summarise(jobId, status) };
      },
    }),
  ];
}
