import { z } from "zod";
import { notFound, ProblemError } from "../core/problem.ts";
import { refusalOf } from "../core/refusals.ts";
import { route, type Route } from "../core/route.ts";
import { shortText } from "../core/text.ts";
import type { Queues } from "../queues/index.ts";
import {
  cursorQuery,
  MESSAGE_EXAMPLE,
  MESSAGE_PAGE_EXAMPLE,
  messagePageSchema,
  messageSchema,
  messageView,
  pageView,
} from "../store/message-view.ts";
import type { Store } from "../store/store.ts";
import { requeue } from "./requeue.ts";

const inMessage = z.object({ messageId: z.string().min(1).max(200) });

/** Single messages, and those that a person has to look at. */
export function messageRoutes({ queues, store }: { queues: Queues; store: Store }): Route[] {
  const find = async (messageId: string) => {
    const message = z.uuid().safeParse(messageId).success ? await store.message(messageId) : undefined;
    if (!message) throw notFound("message", messageId);
    return message;
  };

  return [
    route({
      method: "get",
      path: "/api/messages",
      tag: "Messages",
      summary: "Messages that a person has to look at",
      description:
        "`unknown`: nobody can tell whether the person was contacted; `POST /api/messages/{messageId}/resolve` settles it. " +
        "`failed`: what came to a bad end.",
      query: z.object({
        status: z.enum(["unknown", "failed"]),
        accountId: shortText(200).optional(),
        ...cursorQuery,
      }),
      responses: {
        200: {
          description: "In the order of planning. Give `nextCursor` back to go on.",
          schema: messagePageSchema,
          example: MESSAGE_PAGE_EXAMPLE,
        },
      },
      async handle({ query: { status, accountId, cursor, limit } }) {
        return { status: 200, body: pageView(await store.messages({ status, accountId, cursor, limit })) };
      },
    }),

    route({
      method: "get",
      path: "/api/messages/:messageId",
      tag: "Messages",
      summary: "What became of a message",
      params: inMessage,
      responses: {
        200: { description: "The message now.", schema: messageSchema, example: MESSAGE_EXAMPLE },
        404: { description: "There is no such message." },
      },
      async handle({ params: { messageId } }) {
        return { status: 200, body: messageView(await find(messageId)) };
      },
    }),

    route({
      method: "post",
      path: "/api/messages/:messageId/resolve",
      tag: "Messages",
      summary: "Settle a message of unknown fate",
      description:
        "`sent`: it counts as sent, its credit is spent. `not_sent`: it counts as failed, its credit comes back, and it can " +
        "be retried. `resend`: it is sent again, whoever may have received it already.",
      idempotent: true,
      params: inMessage,
      body: z.strictObject({ as: z.enum(["sent", "not_sent", "resend"]) }),
      bodyExample: { as: "sent" },
      responses: {
        200: {
          description: "Settled.",
          schema: z.object({ messageId: z.string(), as: z.string() }),
          example: { messageId: MESSAGE_EXAMPLE.messageId, as: "sent" },
        },
        404: { description: "There is no such message." },
        409: {
          description: "There is nothing to settle.",
          codes: { not_unknown: "Only a message whose status is `unknown` can be resolved." },
        },
      },
      async handle({ params: { messageId }, body: { as }, idempotency }) {
        const { queue, messageId: id } = await find(messageId);
        const answer = await store.resolveMessage(messageId, as, { messageId, as }, idempotency);
        switch (answer.result) {
          case "accepted":
            if (as === "resend") await requeue(queues, queue, id);
            return { status: 200, body: answer.response };
          case "replay":
            return { status: 200, body: answer.response };
          case "conflict":
            throw refusalOf("conflict", "");
          case "missing":
            throw notFound("message", messageId);
          case "not_unknown":
            throw new ProblemError({
              status: 409,
              code: "not_unknown",
              title: "There is nothing to settle",
              detail: `The message is ${answer.status}: only one of unknown fate can be resolved.`,
            });
        }
      },
    }),
  ];
}
