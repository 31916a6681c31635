import { setTimeout as delay } from "node:timers/promises";

const FIRST_MS = 20;
const LONGEST_MS = 200;
const GROWTH = 1.3;

/**
 * Reads until the value is as wished for, or the time is over, and answers the last one. It looks less and less often: what
 * takes long is not found much later for it, and each look takes processor from what is waited for.
 */
export async function patiently<T>(
  read: () => Promise<T>,
  wished: (value: T) => boolean,
  timeoutMs: number,
): Promise<{ value: T; isSo: boolean }> {
  const deadline = performance.now() + timeoutMs;
  for (let pauseMs = FIRST_MS; ; pauseMs = Math.min(LONGEST_MS, pauseMs * GROWTH)) {
    const value = await read();
    const isSo = wished(value);
    if (isSo || performance.now() > deadline) return { value, isSo };
    await delay(pauseMs);
  }
}
