import { setTimeout as delay } from "node:timers/promises";
import { UnrecoverableError, type Job } from "bullmq";
import { CHARGE_JOB, INBOUND_QUEUE, inboundJobSchema } from "../channels/inbound-job.ts";
import { isStart } from "../channels/stop-words.ts";
import { messageOf, UnavailableError } from "../core/errors.ts";
import { CALL_JOBS, callJobId, type CallJob, type InboundEvent, type Receipt } from "../core/inbound.ts";
import type { Queues } from "../queues/index.ts";
import type { Store } from "../store/store.ts";
import type { Charges } from "./charges.ts";

/** How long a vendor waits for the ledger before what it brought goes into the queue, milliseconds. */
const LEDGER_PATIENCE_MS = 500;

export interface TakeDeps {
  store: Pick<Store, "takeReceipt" | "takeReply" | "takeInstructions" | "instructionsOf" | "endWay">;
  idle: Queues["idle"];
  /** Whether a reply is a wish to be left alone. */
  isStop(text: string): boolean;
}

/** What keeps what vendors bring. */
export type KeepDeps = TakeDeps & Pick<Queues, "addInbound">;

export interface InboundWorkerDeps extends TakeDeps {
  charges: Charges;
}

/**
 * Takes what a webhook brought into the ledger, which bears each of it twice and in any order. Rejects with
 * `UnavailableError` when the database was away for any of it: all of it is to be brought again.
 */
export async function takeEvents(events: readonly InboundEvent[], deps: TakeDeps): Promise<void> {
  const { store, isStop } = deps;
  const taken = await Promise.allSettled(
    events.map(({ kind: _kind, ...what }): Promise<unknown> => {
      if ("step" in what) return store.takeInstructions(what);
      if ("status" in what) return takeReceipt(what, deps);
      return store.takeReply({ ...what, stop: what.stop === true || isStop(what.text), start: isStart(what.text) });
    }),
  );
  const errors = taken.flatMap((each) => (each.status === "rejected" ? [each.reason as unknown] : []));
  if (errors.length > 0) throw passing(errors);
}

/** Of several errors one that will pass, if any will. */
const passing = (errors: readonly unknown[]): unknown =>
  errors.find((error) => error instanceof UnavailableError) ?? errors[0];

/** A receipt that holds only for a provider who was told what to leave waits for all that was found out during the call. */
async function takeReceipt({ unlessInstructed, ...receipt }: Receipt, { store, idle }: TakeDeps): Promise<void> {
  const { attempt } = receipt;
  if (unlessInstructed === undefined || !attempt) return store.takeReceipt(receipt);
  const { attemptId } = attempt;
  // Before the ledger is asked: what leaves the queue in between is in the ledger then.
  const waiting = await waitingOf(attemptId, idle);
  const step = await store.instructionsOf(attemptId, receipt);
  // That it was asked or answered may be in the ledger already, or has the end count as soon as it is.
  if (waiting?.has("failed") || (waiting && waiting.size > 0 && step === undefined))
    throw new UnavailableError("redis", "What was found out during the call is not in the ledger yet.");
  if (step === "answered") return store.takeReceipt(receipt);
  // A Redis that is away may have more of it.
  if (waiting === undefined)
    throw new UnavailableError("redis", "Redis cannot say what was found out during the call.");
  if (step === "asked") return store.takeReceipt({ ...receipt, status: "sent" });
  // Redis may have been emptied, or have lost its last second: that nobody is known to have asked is no proof.
  await store.endWay(attempt);
  return store.takeReceipt({ ...receipt, status: "failed", code: unlessInstructed });
}

/** What of it is still to be taken into the ledger; undefined: Redis is away. */
async function waitingOf(attemptId: string, idle: TakeDeps["idle"]): Promise<ReadonlySet<CallJob> | undefined> {
  const idOf = (what: CallJob): string => callJobId(what, attemptId);
  try {
    const { missing, ended } = await idle(INBOUND_QUEUE, CALL_JOBS.map(idOf));
    const over = new Set([...missing, ...ended]);
    return new Set(CALL_JOBS.filter((what) => !over.has(idOf(what))));
  } catch (error) {
    if (error instanceof UnavailableError) return undefined;
    throw error;
  }
}

/**
 * Makes sure that what a webhook brought is not lost. Reports wait in the queue. Replies go into the ledger at once: a STOP
 * counts from that moment, and Redis may lose its last second. So does what a call was told to leave, of which no vendor will
 * report. Each takes the other way when its own is closed; rejects with
 * `UnavailableError` when both are.
 */
export async function keepEvents(
  events: readonly InboundEvent[],
  { addInbound, ...deps }: KeepDeps,
  jobId?: string,
): Promise<void> {
  const { now = [], later = [] } = Object.groupBy(events, ({ kind }) => (kind === "receipt" ? "later" : "now"));
  const stored = takeEvents(now, deps).then(
    () => true,
    () => false,
  );
  const late = delay(LEDGER_PATIENCE_MS, false, { ref: false });
  const left = (await Promise.race([stored, late])) ? later : [...events];
  if (left.length === 0) return;
  try {
    await addInbound({ events: left }, jobId);
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    await takeEvents(left, deps);
  }
}

/**
 * Keeps what nobody would bring again if the process were killed in this moment: both ways at once, for whichever is the quicker
 * will do, and the ledger bears it twice. Resolves when one of them has it, the ledger if it can be had; rejects with
 * `UnavailableError` when neither can.
 */
export async function keepBothWays(
  events: readonly InboundEvent[],
  { addInbound, ...deps }: KeepDeps,
  jobId?: string,
): Promise<void> {
  // Redis first: its command is on the way before this turn of the event loop is over.
  const kept = await Promise.allSettled([addInbound({ events: [...events] }, jobId), takeEvents(events, deps)]);
  const errors = kept.flatMap((each) => (each.status === "rejected" ? [each.reason as unknown] : []));
  if (errors.length === kept.length) throw passing(errors);
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
