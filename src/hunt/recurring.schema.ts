import { z } from "zod";
import { timestamp } from "../core/text.ts";

/** A recurrence as the API shows it. */
export const recurrenceSchema = z.object({
  recurrenceId: z.uuid(),
  accountId: z.string(),
  name: z.string(),
  cron: z.string(),
  timeZone: z.string(),
  until: z.string().nullable(),
  count: z.int().nullable(),
  contacts: z.int(),
  runs: z.int().describe("So far. Each is a hunt, `<recurrenceId>:<time>`, the time in UTC as `2026-01-05T08:00:00Z`"),
  lastRunAt: timestamp().nullable().describe("For when the last one was planned"),
  lastHuntId: z.string().nullable().describe("The hunt of the last run that has made one: `GET /api/hunts/{huntId}`"),
  nextRunAt: timestamp().nullable().describe("null: it is paused, or over"),
  pausedAt: timestamp().nullable(),
  createdAt: timestamp(),
});

export const EXAMPLE_ID = "7f1c9c1e-7a55-4b55-9c53-0a6d0b3f1a51";
/** For the documents. */
export const RECURRENCE_EXAMPLE: z.output<typeof recurrenceSchema> = {
  recurrenceId: EXAMPLE_ID,
  accountId: "acc_456",
  name: "Every Monday",
  cron: "0 9 * * 1",
  timeZone: "Europe/Paris",
  until: null,
  count: null,
  contacts: 2,
  runs: 1,
  lastRunAt: "2026-01-05T08:00:00.000Z",
  lastHuntId: `${EXAMPLE_ID}:2026-01-05T08:00:00Z`,
  nextRunAt: "2026-01-12T08:00:00.000Z",
  pausedAt: null,
  createdAt: "2026-01-02T09:30:00.000Z",
};
