import { z } from "zod";
import { timestamp } from "../core/text.ts";
import { MESSAGE_STATUSES, type Counts, type HuntStatus, type MessageStatus } from "../store/store.ts";

const countsSchema = z.object(
  Object.fromEntries(MESSAGE_STATUSES.map((status) => [status, z.number().int()])) as Record<
    MessageStatus,
    z.ZodNumber
  >,
);

export const statusSchema = z.object({
  jobId: z.string(),
  huntId: z.string(),
  accountId: z.string(),
  state: z
    .enum(["planning", "scheduled", "running", "paused", "cancelled", "finished"])
    .describe("`finished`, and `cancelled` with a `finishedAt`: no message is queued or being sent any more"),
  total: z.number().int(),
  counts: countsSchema,
  byChannel: z.record(z.string(), countsSchema),
  byVariant: z
    .record(z.string(), countsSchema.extend({ replied: z.number().int().describe("Messages that were answered") }))
    .describe("Of contacts whose text came from one of the hunt's variants, once they are planned"),
  pausedAt: timestamp().nullable(),
  cancelledAt: timestamp().nullable(),
  scheduledAt: timestamp().nullable().describe("When it begins or goes on, where nothing of it may be sent now"),
  startedAt: timestamp().nullable().describe("The first attempt"),
  finishedAt: timestamp().nullable().describe("When the last message settled; receipts may still come"),
  etaSeconds: z
    .number()
    .int()
    .nullable()
    .describe(
      "Until its end: by the limits, windows and times that hold it back, else at the pace at which each sender goes now; null while that is not known, 0 at the end",
    ),
});

const EXAMPLE_COUNTS = { ...noCounts(), queued: 20, sent: 50, delivered: 28, skipped: 2 };

/** For the documents. */
export const STATUS_EXAMPLE: z.output<typeof statusSchema> = {
  jobId: "7f1c9c1e-7a55-4b55-9c53-0a6d0b3f1a51",
  huntId: "hunt_123",
  accountId: "acc_456",
  state: "running",
  total: 100,
  counts: EXAMPLE_COUNTS,
  byChannel: { sms: EXAMPLE_COUNTS },
  byVariant: {},
  pausedAt: null,
  cancelledAt: null,
  scheduledAt: null,
  startedAt: "2026-01-08T09:30:00.000Z",
  finishedAt: null,
  etaSeconds: 12,
};

/** The status as the API shows it, from the ledger's counts. */
export function summarise(jobId: string, status: HuntStatus): z.output<typeof statusSchema> {
  const byChannel: Record<string, Counts> = {};
  const of = (channel: string): Counts => (byChannel[channel] ??= noCounts());
  for (const [channel, counts] of Object.entries(status.channels)) Object.assign(of(channel), counts);
  for (const [channel, pending] of Object.entries(status.pending)) of(channel).queued += pending;

  const counts = noCounts();
  for (const channel of Object.values(byChannel)) {
    for (const name of MESSAGE_STATUSES) counts[name] += channel[name];
  }
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const byVariant = Object.fromEntries(
    Object.entries(status.variants ?? {}).map(([name, given]) => [name, { ...noCounts(), ...given }]),
  );
  const left = counts.queued + counts.sending;
  const planning = Object.keys(status.pending).length > 0;
  const finished = left === 0 && !planning;
  return {
    jobId,
    huntId: status.huntId,
    accountId: status.accountId,
    state: stateOf(status, planning, finished),
    total,
    counts,
    byChannel,
    byVariant,
    pausedAt: status.pausedAt,
    cancelledAt: status.cancelledAt,
    scheduledAt: finished ? null : status.scheduledAt,
    startedAt: status.startedAt,
    // A hunt whose contacts were all skipped settled when it was planned.
    finishedAt: finished ? (status.lastSettledAt ?? status.createdAt) : null,
    etaSeconds: finished ? 0 : status.pausedAt ? null : eta(status),
  };
}

function stateOf(
  { pausedAt, cancelledAt, scheduledAt }: HuntStatus,
  planning: boolean,
  finished: boolean,
): z.output<typeof statusSchema>["state"] {
  if (cancelledAt) return "cancelled";
  if (finished) return "finished";
  if (pausedAt) return "paused";
  if (planning) return "planning";
  return scheduledAt ? "scheduled" : "running";
}

function eta({ now, endsAt, scheduledAt }: HuntStatus): number | null {
  if (endsAt === null) return null;
  const end = Math.max(Date.parse(endsAt), scheduledAt === null ? 0 : Date.parse(scheduledAt));
  return Math.max(0, Math.ceil((end - Date.parse(now)) / 1000));
}

export function noCounts(): Counts {
  return Object.fromEntries(MESSAGE_STATUSES.map((status) => [status, 0])) as Counts;
}
