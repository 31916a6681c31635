/** Messages by status. */
export type Counts = Record<string, number>;

/** How far a hunt is. */
export interface Progress {
  total: number;
  counts: Counts;
  completed: boolean;
}

/** The events that bring counts. Receipts may change them after the end, so `hunt.progress` says nothing about that. */
export const WITH_COUNTS = ["hunt.started", "hunt.progress", "hunt.completed"] as const;

/** How far it is after one of these events. Contacts that are not planned yet are not in an event's counts. */
export function after(progress: Progress, type: string, counts: Counts): Progress {
  return {
    total: Math.max(progress.total, sum(counts)),
    counts,
    completed: type === "hunt.progress" ? progress.completed : type === "hunt.completed",
  };
}

/** Messages that have come to an end. */
export const ended = ({ counts }: Progress): number => sum(counts) - (counts["queued"] ?? 0) - (counts["sending"] ?? 0);

function sum(counts: Counts): number {
  return Object.values(counts).reduce((all, n) => all + n, 0);
}
