import { z } from "zod";
import { invalidRequest, notFound } from "../core/problem.ts";
import { route, type Route } from "../core/route.ts";
import { shortText, timestamp } from "../core/text.ts";
import type { HuntProgress, HuntStore } from "../store/hunts.ts";
import { MESSAGE_STATUSES } from "../store/store.ts";
import { huntIdSchema } from "./body.ts";
import { windowsSchema } from "./timing.ts";
import { noCounts, statusSchema, summarise } from "./hunt.status.ts";

const DEFAULT_POINTS = 60;

const huntSchema = statusSchema.omit({ byChannel: true, byVariant: true }).extend({
  jobId: z.string().describe("Its last submission"),
  priority: z.enum(["high", "normal", "low"]),
  createdAt: timestamp(),
  expiresAt: timestamp().describe("Nothing is sent after it"),
});

const huntWithReasonsSchema = huntSchema.extend({
  sendAt: timestamp()
    .nullable()
    .describe("Nothing of it is sent before, as it was changed last; null: as it was submitted"),
  windows: windowsSchema.nullable(),
  reasons: z
    .array(z.object({ status: z.enum(MESSAGE_STATUSES), reason: z.string(), count: z.number().int() }))
    .describe("Why messages were skipped, or with what code they failed: the hundred most frequent"),
});

const timelineSchema = z.object({
  huntId: z.string(),
  from: z.string(),
  to: z.string().describe("Now; or of a hunt that has settled, when the last thing happened"),
  points: z.array(
    z.object({ at: timestamp(), counts: statusSchema.shape.counts.describe("Messages that were in each state then") }),
  ),
});

const COUNTS = { ...noCounts(), queued: 40, delivered: 58, failed: 2 };
const EXAMPLE = {
  huntId: "hunt_123",
  jobId: "7f1c9c1e-7a55-4b55-9c53-0a6d0b3f1a51",
  accountId: "acc_456",
  priority: "normal",
  state: "running",
  total: 100,
  counts: COUNTS,
  createdAt: "2026-11-22T09:00:00.000Z",
  expiresAt: "2026-11-29T09:00:00.000Z",
  pausedAt: null,
  cancelledAt: null,
  scheduledAt: null,
  startedAt: "2026-11-22T09:00:01.000Z",
  finishedAt: null,
  etaSeconds: 20,
};
const NONE = { description: "There is no such hunt." };

/** Hunts as a whole: the list, one of them, and how it went over time. */
export function huntsRoutes({ hunts }: { hunts: HuntStore }): Route[] {
  const params = z.object({ huntId: huntIdSchema });
  return [
    route({
      method: "get",
      path: "/api/hunts",
      tag: "Hunts",
      summary: "All hunts, and how far each is",
      query: z.object({
        accountId: shortText(200).optional(),
        cursor: huntIdSchema.optional().describe("A `nextCursor`"),
        limit: z.coerce.number().int().min(1).max(100).default(20),
      }),
      responses: {
        200: {
          description: "The newest first. Give `nextCursor` back to go on.",
          schema: z.object({ hunts: z.array(huntSchema), nextCursor: z.string().nullable() }),
          example: { hunts: [EXAMPLE], nextCursor: null },
        },
      },
      async handle({ query: { accountId, cursor, limit } }) {
        if (cursor !== undefined && !(await hunts.exists(cursor))) {
          throw invalidRequest([{ pointer: "/query/cursor", detail: "is not a cursor that this route gave" }]);
        }
        // One more than asked for tells whether there is a next page.
        const found = await hunts.list({ accountId, before: cursor, limit: limit + 1 });
        const page = found.slice(0, limit);
        const nextCursor = found.length > limit ? (page.at(-1)?.huntId ?? null) : null;
        return { status: 200, body: { hunts: page.map(view), nextCursor } };
      },
    }),
    route({
      method: "get",
      path: "/api/hunts/:huntId",
      tag: "Hunts",
      summary: "One hunt, and why its messages were skipped or failed",
      params,
      responses: {
        200: {
          description: "The hunt now.",
          schema: huntWithReasonsSchema,
          example: {
            ...EXAMPLE,
            sendAt: null,
            windows: null,
            reasons: [{ status: "failed", reason: "twilio_21211", count: 2 }],
          },
        },
        404: NONE,
      },
      async handle({ params: { huntId } }) {
        const hunt = await hunts.read(huntId);
        if (!hunt) throw notFound("hunt", huntId);
        return {
          status: 200,
          body: { ...view(hunt), sendAt: hunt.sendAt, windows: hunt.windows, reasons: hunt.reasons },
        };
      },
    }),
    route({
      method: "get",
      path: "/api/hunts/:huntId/timeline",
      tag: "Hunts",
      summary: "A hunt over time",
      description:
        "How many messages were in which state, at moments of equal distance from the hunt's beginning on. What is being sent " +
        "counts as queued; contacts that are not planned yet do not count.",
      params,
      query: z.object({ points: z.coerce.number().int().min(2).max(500).default(DEFAULT_POINTS) }),
      responses: {
        200: {
          description: "The oldest point first.",
          schema: timelineSchema,
          example: {
            huntId: "hunt_123",
            from: "2026-11-22T09:00:00.000Z",
            to: "2026-11-22T09:00:40.000Z",
            points: [
              { at: "2026-11-22T09:00:20.000Z", counts: { ...noCounts(), queued: 71, delivered: 29 } },
              { at: "2026-11-22T09:00:40.000Z", counts: COUNTS },
            ],
          },
        },
        404: NONE,
      },
      async handle({ params: { huntId }, query: { points } }) {
        const timeline = await hunts.timeline(huntId, points);
        if (!timeline) throw notFound("hunt", huntId);
        const full = timeline.points.map(({ at, counts }) => ({ at, counts: { ...noCounts(), ...counts } }));
        return { status: 200, body: { huntId, from: timeline.from, to: timeline.to, points: full } };
      },
    }),
  ];
}

function view({ pending, counts, reasons: _reasons, ...hunt }: HuntProgress): z.output<typeof huntSchema> {
  const { jobId, priority, createdAt, expiresAt } = hunt;
  const {
    byChannel: _channels,
    byVariant: _variants,
    ...summary
  } = summarise(jobId, {
    ...hunt,
    // By channel they are not known, and need not be.
    pending: pending > 0 ? { any: pending } : {},
    channels: { any: counts },
  });
  return { ...summary, priority, createdAt, expiresAt };
}
