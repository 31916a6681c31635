import { z } from "zod";
import { notFound } from "../core/problem.ts";
import { CANCELLED, refusalOf } from "../core/refusals.ts";
import { route, type Route } from "../core/route.ts";
import { timestamp } from "../core/text.ts";
import type { FlowStore, Steering } from "../store/flows.ts";
import { huntIdSchema } from "./body.ts";

export interface SteeringRoutesDeps {
  flows: FlowStore;
  /** Something waits to be fed. */
  wake(): void;
}

/** Messages that one request cancels before it answers; the sweeper goes on with more. */
const BATCH = 1000;
const BATCHES = 20;

const ACTIONS: Record<Steering, { summary: string; description: string }> = {
  pause: {
    summary: "Begin no more messages of a hunt",
    description: "What is being sent right now is sent. What waits keeps its place, until it expires.",
  },
  resume: {
    summary: "Go on with a paused hunt",
    description: "In the old order: nobody is left out, and nobody is contacted again.",
  },
  cancel: {
    summary: "End a hunt",
    description:
      "What waits is never sent: it becomes `cancelled`, and its credits come back. What is being sent right now is " +
      "sent. A big hunt's messages may say `queued` for a while yet.",
  },
};

export function steeringRoutes({ flows, wake }: SteeringRoutesDeps): Route[] {
  return (Object.keys(ACTIONS) as Steering[]).map((action) =>
    route({
      method: "post",
      path: `/api/hunt/:huntId/${action}`,
      tag: "Hunts",
      ...ACTIONS[action],
      params: z.object({ huntId: huntIdSchema }),
      responses: {
        200: {
          description: "It is so now, and may be said again.",
          schema: z.object({
            huntId: z.string(),
            accountId: z.string(),
            pausedAt: timestamp().nullable(),
            cancelledAt: timestamp().nullable(),
          }),
          example: { huntId: "hunt_123", accountId: "acc_456", pausedAt: null, cancelledAt: null },
        },
        404: { description: "There is no such hunt." },
        ...(action === "cancel"
          ? {}
          : { 409: { description: "It was cancelled.", codes: { hunt_cancelled: CANCELLED } } }),
      },
      async handle({ params: { huntId } }) {
        const answer = await flows.steer(huntId, action);
        if (answer.result === "missing") throw notFound("hunt", huntId);
        if (answer.result === "cancelled") throw refusalOf("cancelled_hunt", "/huntId");
        if (action === "resume") wake();
        if (action === "cancel") {
          for (let i = 0; i < BATCHES && (await flows.continueCancelling(BATCH)) === BATCH; i++);
        }
        const { result: _, ...body } = answer;
        return { status: 200, body: { huntId, ...body } };
      },
    }),
  );
}
