import type { Database } from "./database.ts";

/** A place in a trace, as it is passed on: W3C `traceparent`, `tracestate`. */
export type TraceCarrier = Record<string, string>;

export interface HuntTrace {
  huntId: string;
  carrier: TraceCarrier;
  /** Of its messages, those whose spans are recorded: 0 to 1. */
  share: number;
}

/** The traces that hunts were submitted in, until the hunts expire. All methods reject with `UnavailableError`. */
export interface TraceStore {
  keep(jobId: string, trace: HuntTrace): Promise<void>;
  /** Of those hunts that have any, the trace of the last submission. */
  ofHunts(huntIds: readonly string[]): Promise<HuntTrace[]>;
  ofSubmission(jobId: string): Promise<Pick<HuntTrace, "carrier"> | undefined>;
}

export function createTraceStore(database: Database): TraceStore {
  return {
    keep: (jobId, { huntId, carrier, share }) =>
      database.rpc("keep_hunt_trace", { p_job_id: jobId, p_hunt_id: huntId, p_carrier: carrier, p_share: share }),
    ofHunts: (huntIds) => database.rpc("hunt_traces_of", { p_hunt_ids: huntIds }),
    async ofSubmission(jobId) {
      const query = database.client.from("hunt_traces").select("carrier").eq("job_id", jobId).maybeSingle();
      return (await database.run<{ carrier: TraceCarrier } | null>("hunt trace", query)) ?? undefined;
    },
  };
}
