import { z } from "zod";
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
    .enum(["planning", "running", "paused", "cancelled", "finished"])
    .describe("`finished`, and `cancelled` with a `finishedAt`: no message is queued or being sent any more"),
  total: z.number().int(),
  counts: countsSchema,
  byChannel: z.record(z.string(), countsSchema),
  pausedAt: z.string().nullable(),
  cancelledAt: z.string().nullable(),
  startedAt: z.string().nullable().describe("The first attempt"),
  finishedAt: z.string().nullable().describe("When the last message settled; receipts may still come"),
  etaSeconds: z.number().int().nullable().describe("At the pace so far; null before the first message, 0 at the end"),
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
  pausedAt: null,
  cancelledAt: null,
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
    pausedAt: status.pausedAt,
    cancelledAt: status.cancelledAt,
    startedAt: status.startedAt,
    // A hunt whose contacts were all skipped settled when it was planned.
    finishedAt: finished ? (status.lastSettledAt ?? status.createdAt) : null,
    etaSeconds: finished ? 0 : status.pausedAt ? null : eta(status, left),
  };
}

function stateOf(
  { pausedAt, cancelledAt }: HuntStatus,
  planning: boolean,
  finished: boolean,
): z.output<typeof statusSchema>["state"] {
  if (cancelledAt) return "cancelled";
  if (finished) return "finished";
  if (pausedAt) return "paused";
  return planning ? "planning" : "running";
}

function eta({ startedAt, now, attempted }: HuntStatus, left: number): number | null {
  if (!startedAt || attempted === 0) return null;
  const elapsedSeconds = Math.max(0.001, (Date.parse(now) - Date.parse(startedAt)) / 1000);
  return Math.ceil((left * elapsedSeconds) / attempted);
}

function noCounts(): Counts {
  return Object.fromEntries(MESSAGE_STATUSES.map((status) => [status, 0])) as Counts;
}
