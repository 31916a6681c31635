"use client";

import { useEffect, useState } from "react";
import { after, ended, WITH_COUNTS, type Counts, type Progress } from "../../../lib/progress";

/** Milliseconds. */
const REOPEN_MS = 5000;

/**
 * A hunt as it goes. The browser takes a broken connection up again by itself, where it was; one that it has given up, as when the
 * app itself was away, is opened anew.
 */
export function LiveProgress({ huntId }: { huntId: string }) {
  const [progress, setProgress] = useState<Progress>({ total: 0, counts: {}, completed: false });

  useEffect(() => {
    const hunt = `/api/hunts/${encodeURIComponent(huntId)}`;
    let events: EventSource;
    let reopening: number;
    let told = 0;
    const take = (event: MessageEvent<string>): void => {
      told += 1;
      const { type, data } = JSON.parse(event.data) as { type: string; data: { counts: Counts } };
      setProgress((before) => after(before, type, data.counts));
    };
    const read = async (): Promise<void> => {
      const before = told;
      const response = await fetch(hunt).catch(() => undefined);
      if (!response?.ok) return;
      const now = (await response.json()) as Progress;
      // What came meanwhile is newer.
      if (told === before && events.readyState !== EventSource.CLOSED) setProgress(now);
      else setProgress((newer) => ({ ...newer, total: Math.max(newer.total, now.total) }));
    };
    const open = (): void => {
      events = new EventSource(`${hunt}/events`);
      for (const type of WITH_COUNTS) events.addEventListener(type, take);
      // Not before it listens, so that nothing falls between; and where events may be missing.
      for (const type of ["open", "reset"]) events.addEventListener(type, () => void read());
      events.addEventListener("error", () => {
        if (events.readyState === EventSource.CLOSED) reopening = window.setTimeout(open, REOPEN_MS);
      });
    };
    open();
    return () => {
      window.clearTimeout(reopening);
      events.close();
    };
  }, [huntId]);

  const { total, counts, completed } = progress;
  const done = ended(progress);
  return (
    <section aria-live="polite">
      <progress max={total || 1} value={done} aria-label="Messages that have come to an end" />
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
