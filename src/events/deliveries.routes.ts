import { z } from "zod";
import { notFound, ProblemError } from "../core/problem.ts";
import { refusalOf } from "../core/refusals.ts";
import { route, type Route } from "../core/route.ts";
import { timestamp } from "../core/text.ts";
import { DELIVERY_STATES, type EventStore } from "../store/events.ts";
import { endpointParams, ENDPOINTS, existing, NONE, TAG } from "./endpoints.routes.ts";

export interface DeliveryRoutesDeps {
  events: EventStore;
  /** Something is due: look at once. */
  wake(): void;
}

const attemptSchema = z.object({
  at: timestamp(),
  status: z.number().int().nullable().describe("What was answered; null: nothing"),
  durationMs: z.number().int(),
  error: z.string().nullable().describe("Why there was no answer"),
  answer: z.string().nullable().describe("The beginning of the answer, without what looks like a number or a secret"),
});

const deliverySchema = z.object({
  deliveryId: z.string(),
  endpointId: z.uuid(),
  eventId: z.string().describe("The `webhook-id` of all its attempts"),
  type: z.string(),
  state: z.enum(DELIVERY_STATES).describe("`failed`: it is not tried any more, but may be replayed"),
  attempts: z.number().int().describe("Since it was made or replayed"),
  nextAttemptAt: timestamp()
    .nullable()
    .describe("null: it is over, or waits for the one before it about the same thing"),
  createdAt: timestamp(),
  endedAt: timestamp().nullable(),
  log: z.array(attemptSchema).describe("The last 20 attempts"),
});

const EXAMPLE = {
  deliveryId: "4711",
  endpointId: "3f0d9a52-6c1e-4d0b-8f7a-2b9c4e5d6f70",
  eventId: "evt_5f2b1c9e0a7d4c3b8e6f1a2b3c4d5e6f",
  type: "message.delivered",
  state: "delivered",
  attempts: 2,
  nextAttemptAt: null,
  createdAt: "2026-01-08T09:30:00.000Z",
  endedAt: "2026-01-08T09:30:06.000Z",
  log: [
    { at: "2026-01-08T09:30:00.200Z", status: 500, durationMs: 81, error: null, answer: "try later" },
    { at: "2026-01-08T09:30:05.900Z", status: 204, durationMs: 40, error: null, answer: null },
  ],
};

const deliveryParams = endpointParams.extend({
  deliveryId: z.string().regex(/^\d{1,18}$/, "is not the id of a delivery"),
});
const NO_DELIVERY = { description: "There is no such delivery of this endpoint." };

/** What became of an endpoint's webhooks. */
export function deliveryRoutes({ events, wake }: DeliveryRoutesDeps): Route[] {
  const path = `${ENDPOINTS}/:endpointId`;
  const shown = (description: string) => ({ description, schema: deliverySchema, example: EXAMPLE });
  const find = async (endpointId: string, deliveryId: string) => {
    const delivery = await events.delivery(endpointId, deliveryId);
    if (!delivery) throw notFound("delivery", deliveryId);
    return delivery;
  };

  return [
    route({
      method: "post",
      path: `${path}/test`,
      tag: TAG,
      summary: "Try an endpoint out",
      description:
        "Delivers an event `webhook.test`, whatever the endpoint asks for; its delivery tells what came of it.",
      idempotent: true,
      params: endpointParams,
      responses: {
        202: shown("It is on its way."),
        404: NONE,
        409: {
          description: "It is off.",
          codes: { endpoint_off: "Nothing is delivered to an endpoint that is turned off." },
        },
      },
      async handle({ params: { endpointId }, idempotency }) {
        existing(await events.endpoint(endpointId), endpointId);
        const answer = await events.testEndpoint(endpointId, idempotency);
        switch (answer.result) {
          case "conflict":
            throw refusalOf("conflict", "");
          case "off":
            throw new ProblemError({
              status: 409,
              code: "endpoint_off",
              title: "The endpoint is off",
              detail: "Nothing is delivered to an endpoint that is turned off.",
            });
          case "accepted":
            wake();
            return { status: 202, body: await find(endpointId, answer.response.deliveryId) };
          case "replay":
            return { status: 202, body: await find(endpointId, answer.response.deliveryId) };
        }
      },
    }),
    route({
      method: "get",
      path: `${path}/deliveries`,
      tag: TAG,
      summary: "What was delivered, and how",
      params: endpointParams,
      query: z.object({
        state: z.enum(DELIVERY_STATES).optional(),
        cursor: z
          .string()
          .regex(/^\d{1,18}$/, "is not a cursor that this route gave")
          .optional(),
        limit: z.coerce.number().int().min(1).max(500).default(100),
      }),
      responses: {
        200: {
          description: "The newest first. Give `nextCursor` back to go on.",
          schema: z.object({ deliveries: z.array(deliverySchema), nextCursor: z.string().nullable() }),
          example: { deliveries: [EXAMPLE], nextCursor: null },
        },
        404: NONE,
      },
      async handle({ params: { endpointId }, query: { state, cursor, limit } }) {
        existing(await events.endpoint(endpointId), endpointId);
        const { deliveries, nextCursor } = await events.deliveries(endpointId, { state, cursor, limit });
        return { status: 200, body: { deliveries, nextCursor: nextCursor ?? null } };
      },
    }),
    route({
      method: "get",
      path: `${path}/deliveries/:deliveryId`,
      tag: TAG,
      summary: "One delivery",
      params: deliveryParams,
      responses: { 200: shown("How it is now."), 404: NO_DELIVERY },
      async handle({ params: { endpointId, deliveryId } }) {
        return { status: 200, body: await find(endpointId, deliveryId) };
      },
    }),
    route({
      method: "post",
      path: `${path}/deliveries/:deliveryId/replay`,
      tag: TAG,
      summary: "Deliver once more",
      description:
        "The same event under the same `webhook-id`, whatever became of it before, with a first attempt at once. It keeps no order " +
        "with others. An endpoint that is off gets it when it is on.",
      idempotent: true,
      params: deliveryParams,
      responses: {
        202: shown("It is on its way."),
        404: NO_DELIVERY,
        409: {
          description: "It is on its way already.",
          codes: { delivery_pending: "It is still to be tried: there is nothing to repeat." },
        },
      },
      async handle({ params: { endpointId, deliveryId }, idempotency }) {
        const { result } = await events.replay(endpointId, deliveryId, idempotency);
        switch (result) {
          case "conflict":
            throw refusalOf("conflict", "");
          case "missing":
            throw notFound("delivery", deliveryId);
          case "pending":
            throw new ProblemError({
              status: 409,
              code: "delivery_pending",
              title: "The delivery is on its way",
              detail: "It is still to be tried: there is nothing to repeat.",
            });
          case "accepted":
            wake();
            return { status: 202, body: await find(endpointId, deliveryId) };
          case "replay":
            return { status: 202, body: await find(endpointId, deliveryId) };
        }
      },
    }),
  ];
}
