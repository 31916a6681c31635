import { setTimeout as delay } from "node:timers/promises";
import { UnavailableError } from "../../../../core/errors.ts";

/** Between two tries, milliseconds. */
const RETRY_MS = 1000;

/** Does what needs the database or Redis as soon as they are there; undefined when `signal` aborts first. */
export async function untilAvailable<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  while (!signal.aborted) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      await delay(RETRY_MS, undefined, { signal }).catch(() => {});
    }
  }
  return undefined;
}
