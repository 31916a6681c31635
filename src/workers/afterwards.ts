import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { UnavailableError } from "../core/errors.ts";

/** Between two tries, and for how long there are any, milliseconds. */
const AGAIN_MS = 500;
const GIVE_UP_MS = 60_000;

/** What becomes known only when a caller has been answered: nobody waits for it, and nobody brings it again. */
export interface Afterwards {
  /** Tries for a minute while what it needs is away; then it rejects with the last error. */
  keep(keeping: () => Promise<void>): Promise<void>;
  /** Resolves when nothing is under way any more, or at the deadline. */
  settled(deadline: AbortSignal): Promise<void>;
}

export function createAfterwards(): Afterwards {
  const underWay = new Set<Promise<void>>();

  return {
    keep(keeping) {
      const kept = tried(keeping);
      const over = kept.catch(() => {}).finally(() => underWay.delete(over));
      underWay.add(over);
      return kept;
    },
    async settled(deadline) {
      if (!deadline.aborted) await Promise.race([Promise.all(underWay), once(deadline, "abort")]);
    },
  };
}

async function tried(keeping: () => Promise<void>): Promise<void> {
  const until = performance.now() + GIVE_UP_MS;
  for (;;) {
    try {
      return await keeping();
    } catch (error) {
      if (!(error instanceof UnavailableError) || performance.now() > until) throw error;
    }
    await delay(AGAIN_MS);
  }
}
