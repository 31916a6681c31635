"use client";

import { useEffect, useState } from "react";

/** Messages by status, as `hunt.started`, `hunt.progress` and `hunt.completed` bring them. */
type Counts = Record<string, number>;

const WITH_COUNTS = ["hunt.started", "hunt.progress", "hunt.completed"] as const;

/** A hunt as it goes. The browser takes a broken connection up again by itself, where it was. */
export function LiveProgress({ huntId, total }: { huntId: string; total: number }) {
  const [counts, setCounts] = useState<Counts>({});
  const [completed, setCompleted] = useState(false);

  useEffect(() => {
    const events = new EventSource(`/api/hunts/${encodeURIComponent(huntId)}/events`);
    const take = (event: MessageEvent<string>): void => {
      const { type, data } = JSON.parse(event.data) as { type: string; data: { counts?: Counts } };
      if (data.counts) setCounts(data.counts);
      // Receipts may still come, so it goes on listening.
      setCompleted(type === "hunt.completed");
    };
    for (const type of WITH_COUNTS) events.addEventListener(type, take);
    return () => events.close();
  }, [huntId]);

  const waiting = (counts["queued"] ?? 0) + (counts["sending"] ?? 0);
  const done = Object.values(counts).reduce((sum, n) => sum + n, 0) - waiting;
  return (
    <section aria-live="polite">
      <progress max={total} value={done} aria-label="Messages that have come to an end" />
      <p>
        {completed ? "Completed" : "Under way"}: {done} of {total}
      </p>
      <ul>
        {Object.entries(counts).map(([status, n]) => (
          <li key={status}>
            {status}: {n}
          </li>
        ))}
      </ul>
    </section>
  );
}
