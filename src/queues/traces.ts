import type { Logger } from "pino";
import type { Clock } from "../core/clock.ts";
import type { Tracing } from "../core/tracing.ts";
import type { HuntJob } from "../hunt/hunt.jobs.ts";
import { CHUNK_SIZE } from "../hunt/plan.ts";
import type { HuntTrace, TraceStore } from "../store/traces.ts";
import type { Adding, NewMessageJob } from "./adding.ts";

export interface TracesOptions {
  store: TraceStore;
  tracing: Pick<Tracing, "current" | "within">;
  clock: Pick<Clock, "monotonic">;
  log: Logger;
}

/** Messages of a submission whose spans are recorded, about: a trace of many more can be neither stored nor looked at. */
const RECORDED_MESSAGES = 1000;
/** How long it may go unnoticed that a hunt was added to, milliseconds. */
const STALE_MS = 1000;

/**
 * Has the jobs of hunts go on with the traces of the requests that submitted them, whatever lies between: the ledger keeps where
 * each was. Whoever adds jobs within a trace goes on with that one. That a trace cannot be kept, or found, holds nothing up.
 */
export function withTraces(adding: Adding, { store, tracing, clock, log }: TracesOptions): Adding {
  const known = new Map<string, { trace: HuntTrace | undefined; at: number }>();

  async function orNone<T>(work: Promise<T>): Promise<T | undefined> {
    try {
      return await work;
    } catch (error) {
      log.debug({ err: error }, "a hunt goes on without its trace");
      return undefined;
    }
  }

  async function tracesOf(huntIds: ReadonlySet<string>): Promise<Map<string, HuntTrace>> {
    const now = clock.monotonic();
    for (const [huntId, { at }] of known) if (now - at > STALE_MS) known.delete(huntId);
    const traces = new Map<string, HuntTrace>();
    const add = (trace: HuntTrace | undefined): unknown => trace && traces.set(trace.huntId, trace);
    const missing: string[] = [];
    for (const huntId of huntIds) {
      if (known.has(huntId)) add(known.get(huntId)?.trace);
      else missing.push(huntId);
    }
    const found = missing.length > 0 ? await orNone(store.ofHunts(missing)) : [];
    found?.forEach(add);
    for (const huntId of missing) known.set(huntId, { trace: traces.get(huntId), at: now });
    return traces;
  }

  /** Each hunt's by themselves, so that what shares a job shares a trace. */
  async function addInTraces(
    jobs: readonly NewMessageJob[],
    add: (jobs: readonly NewMessageJob[]) => Promise<void>,
  ): Promise<void> {
    const hunts = new Set(jobs.flatMap(({ data: { huntId } }) => huntId ?? []));
    if (hunts.size === 0 || tracing.current()) return add(jobs);
    const traces = await tracesOf(hunts);
    const traceOf = ({ data: { huntId = "" } }: NewMessageJob): HuntTrace | undefined => traces.get(huntId);
    const [untraced, traced] = parted(jobs, (job) => traceOf(job) === undefined);
    const [unrecorded, recorded] = parted(traced, (job) => !isRecorded(job.data.messageId, traceOf(job)!.share));
    // Of what is not recorded it is all the same in whose trace it is.
    const groups = [unrecorded, ...Map.groupBy(recorded, ({ data }) => data.huntId).values()];
    await Promise.all([
      untraced.length > 0 && add(untraced),
      ...groups.map((some) => {
        const trace = some[0] && traceOf(some[0]);
        return trace && tracing.within(trace.carrier, some !== unrecorded, () => add(some));
      }),
    ]);
  }

  async function addHunt(hunt: HuntJob): Promise<void> {
    const { jobId, huntId, chunks } = hunt;
    const here = tracing.current();
    if (here) {
      const share = here.recorded ? Math.min(1, RECORDED_MESSAGES / (chunks * CHUNK_SIZE)) : 0;
      await orNone(store.keep(jobId, { huntId, carrier: here.carrier, share }));
      return adding.addHunt(hunt);
    }
    const kept = await orNone(store.ofSubmission(jobId));
    return kept ? tracing.within(kept.carrier, true, () => adding.addHunt(hunt)) : adding.addHunt(hunt);
  }

  return {
    ...adding,
    addHunt,
    addHunts: async (hunts) => void (await Promise.all(hunts.map(addHunt))),

    addMessages: (jobs) => addInTraces(jobs, adding.addMessages),
    addBundles: (jobs, size) => addInTraces(jobs, (some) => adding.addBundles(some, size)),
  };
}

/** Those that fit, and the others. */
function parted<T>(all: readonly T[], fits: (one: T) => boolean): [T[], T[]] {
  return [all.filter((one) => fits(one)), all.filter((one) => !fits(one))];
}

/** The same each time that it is asked of a message: a message's id follows from its contact like a hash. */
function isRecorded(messageId: string, share: number): boolean {
  return Number.parseInt(messageId.slice(0, 8), 16) < share * 2 ** 32;
}
