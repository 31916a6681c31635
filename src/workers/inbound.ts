import { setTimeout as delay } from "node:timers/promises";
import { UnrecoverableError, type Job } from "bullmq";
import { CHARGE_JOB, inboundJobSchema, type InboundJob } from "../channels/inbound-job.ts";
import { isStart } from "../channels/stop-words.ts";
import { messageOf, UnavailableError } from "../core/errors.ts";
import type { InboundEvent } from "../core/inbound.ts";
import type { Store } from "../store/store.ts";
import type { Charges } from "./charges.ts";

/** How long a vendor waits for the ledger before its reply goes into the queue, milliseconds. */
const LEDGER_PATIENCE_MS = 500;

interface TakeDeps {
  store: Pick<Store, "takeReceipt" | "takeReply">;
  /** Whether a reply is a wish to be left alone. */
  isStop(text: string): boolean;
}

export interface InboundWorkerDeps extends TakeDeps {
  charges: Charges;
}

/**
 * Takes what a webhook brought into the ledger, which bears each of it twice and in any order. Rejects with
 * `UnavailableError` when the database was away for any of it: all of it is to be brought again.
 */
export async function takeEvents(events: readonly InboundEvent[], { store, isStop }: TakeDeps): Promise<void> {
  const taken = await Promise.allSettled(
    events.map(({ kind: _kind, ...what }): Promise<unknown> => {
      if ("status" in what) return store.takeReceipt(what);
      return store.takeReply({ ...what, stop: what.stop === true || isStop(what.text), start: isStart(what.text) });
    }),
  );
  const errors = taken.flatMap((each) => (each.status === "rejected" ? [each.reason as unknown] : []));
  if (errors.length > 0) throw errors.find((error) => error instanceof UnavailableError) ?? errors[0];
}

/**
 * Makes sure that what a webhook brought is not lost. Reports wait in the queue. Replies go into the ledger at once: a STOP
 * counts from that moment, and Redis may lose its last second. Each takes the other way when its own is closed; rejects with
 * `UnavailableError` when both are.
 */
export async function keepEvents(
  events: readonly InboundEvent[],
  { addInbound, ...deps }: TakeDeps & { addInbound(job: InboundJob): Promise<void> },
): Promise<void> {
  const replies = events.filter(({ kind }) => kind === "reply");
  const stored = takeEvents(replies, deps).then(
    () => true,
    () => false,
  );
  const late = delay(LEDGER_PATIENCE_MS, false, { ref: false });
  const left = (await Promise.race([stored, late])) ? events.filter(({ kind }) => kind !== "reply") : [...events];
  if (left.length === 0) return;
  try {
    await addInbound({ events: left });
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    await takeEvents(left, deps);
  }
}

/** The job of the queue `inbound`. While the database is away it fails, and is tried again until it is back. */
export async function runInboundJob(
  job: Job<unknown>,
  token: string | undefined,
  deps: InboundWorkerDeps,
): Promise<void> {
  if (job.name === CHARGE_JOB) return deps.charges.ask(job, token);
  const parsed = inboundJobSchema.safeParse(job.data);
  if (!parsed.success) throw new UnrecoverableError("The job's payload is not valid.");
  try {
    await takeEvents(parsed.data.events, deps);
  } catch (error) {
    if (error instanceof UnavailableError) throw error;
    // What the database refuses it refuses each time: the failed job stays, to be seen.
    throw new UnrecoverableError(messageOf(error));
  }
  await deps.charges.plan(parsed.data.events);
}
