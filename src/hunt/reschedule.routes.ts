import type { Logger } from "pino";
import { z } from "zod";
import type { Clock } from "../core/clock.ts";
import { UnavailableError } from "../core/errors.ts";
import { check } from "../core/faults.ts";
import { invalidRequest, notFound } from "../core/problem.ts";
import { CANCELLED, refusalOf } from "../core/refusals.ts";
import { route, type Route } from "../core/route.ts";
import type { FlowStore, HuntChanges, Rescheduled } from "../store/flows.ts";
import { expiresAtSchema, huntIdSchema, prioritySchema } from "./body.ts";
import { alike, createTiming, timingShape, windowsSchema } from "./timing.ts";

export interface RescheduleDeps {
  flows: Pick<FlowStore, "reschedule">;
  /** Takes jobs of messages out of their queues. Rejects with `UnavailableError` while Redis is away. */
  removeJobs(messages: Rescheduled["back"]): Promise<unknown>;
  /** Something waits to be fed. */
  wake(): void;
  clock: Clock;
  log: Logger;
}

const changesSchema = z.strictObject({
  priority: prioritySchema.optional(),
  expiresAt: expiresAtSchema.optional().describe("Nothing is sent after it; what has expired already stays so"),
  sendAt: timingShape.sendAt
    .nullable()
    .describe(
      "Nothing of the hunt is sent before it, and what waits for an earlier or a later time of its submission is sent " +
        "at it; a contact's own time counts where it is later. A time in the past: at once. null: as it was submitted",
    ),
  timeZone: timingShape.timeZone,
  windows: windowsSchema.nullable().optional().describe("In place of the hunt's; null takes them away"),
});
type Changes = z.output<typeof changesSchema>;

const scheduleSchema = z.object({
  huntId: z.string(),
  accountId: z.string(),
  priority: prioritySchema,
  expiresAt: z.string(),
  sendAt: z.string().nullable().describe("As it was changed last; null: as it was submitted"),
  windows: windowsSchema.nullable(),
});

/** Changes when a hunt is sent that has been accepted. */
export function rescheduleRoutes({ flows, removeJobs, wake, clock, log }: RescheduleDeps): Route[] {
  return [
    route({
      method: "patch",
      path: "/api/hunts/:huntId",
      tag: "Hunts",
      summary: "Give a hunt another time, end, windows or priority",
      description:
        "Counts at once for everything that is not being sent right now, also in a pause; what is absent stays as it is. " +
        "Nobody is contacted twice or left out by it, and it may be said again.",
      params: z.object({ huntId: huntIdSchema }),
      body: changesSchema,
      parseBody: async (raw) => changesOf(raw, clock.now()),
      bodyExample: { sendAt: "2026-02-02T09:00", timeZone: "Europe/Paris", priority: "high" },
      responses: {
        200: {
          description: "It is so now.",
          schema: scheduleSchema,
          example: {
            huntId: "hunt_123",
            accountId: "acc_456",
            priority: "high",
            expiresAt: "2026-02-09T08:00:00.000Z",
            sendAt: "2026-02-02T08:00:00.000Z",
            windows: null,
          },
        },
        400: { description: "Not valid: `errors` lists every fault by JSON pointer. Nothing was changed." },
        404: { description: "There is no such hunt." },
        409: { description: "It was cancelled.", codes: { hunt_cancelled: CANCELLED } },
      },
      async handle({ params: { huntId }, body }) {
        const changes = body as unknown as HuntChanges;
        const answer = await flows.reschedule(huntId, changes);
        switch (answer.result) {
          case "missing":
            throw notFound("hunt", huntId);
          case "cancelled":
            throw refusalOf("cancelled_hunt", "/huntId");
          case "sends_too_late":
            if (changes.sendAt !== undefined) throw refusalOf("sends_too_late", "/sendAt");
            throw invalidRequest([
              { pointer: "/expiresAt", detail: "is not after the time at which all of it is sent" },
            ]);
          case "zoneless":
            throw invalidRequest([
              {
                pointer: "/windows/timeZone",
                detail: "is missing: this hunt was planned without its recipients' own time zones",
              },
            ]);
          case "done": {
            const { result: _, back, ...schedule } = answer;
            await removeJobs(back).catch((error: unknown) => {
              // Each waits in its queue for the old hours then, and keeps to the new ones.
              if (!(error instanceof UnavailableError)) throw error;
              log.warn({ err: error, huntId }, "hunt re-scheduled while Redis is away");
            });
            wake();
            return { status: 200, body: { huntId, ...schedule } };
          }
        }
      },
    }),
  ];
}

/** All faults at once; times in UTC. */
function changesOf(raw: unknown, now: number): HuntChanges {
  const { value, faults } = check(changesSchema, raw);
  const given = (value ?? raw ?? {}) as Changes;
  const timing = createTiming(given.sendAt === null ? { ...given, sendAt: undefined } : given, now, faults);
  if (value && Object.entries(given).every(([name, each]) => name === "timeZone" || each === undefined)) {
    faults.push({ pointer: "", detail: "names nothing to change: priority, expiresAt, sendAt or windows" });
  }
  if (faults.length > 0) throw invalidRequest(faults);
  const { sendAt, expiresAt } = timing.result();
  return {
    priority: given.priority,
    expiresAt: given.expiresAt === undefined ? undefined : expiresAt,
    sendAt: given.sendAt === null ? null : sendAt,
    windows: given.windows && alike(given.windows),
  };
}
