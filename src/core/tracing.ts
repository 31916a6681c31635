import type { IncomingHttpHeaders } from "node:http";

/** What BullMQ takes as `telemetry`; its own type belongs to the rooms that know it. */
export interface Tracing<Telemetry = unknown> {
  readonly telemetry: Telemetry | undefined;
  /** Runs what answers a request within a span, which goes on from the caller's (`traceparent`). */
  request(headers: IncomingHttpHeaders, run: () => void): RequestSpan;
  /** `result`: what the call came to, for the span. */
  call<T>(
    labels: { channel: string; provider: string },
    run: () => Promise<T>,
    result: (value: T) => string,
  ): Promise<T>;
  /** Where a trace is now, to go on with it elsewhere; undefined outside of any. */
  current(): { carrier: Record<string, string>; recorded: boolean } | undefined;
  /** Runs it as a part of the trace that was there (W3C `traceparent`, `tracestate`); `recorded` false: of no span of it is told. */
  within<T>(carrier: Record<string, string>, recorded: boolean, run: () => T): T;
  /** Sends what is not sent yet. */
  stop(): Promise<void>;
}

export interface RequestSpan {
  /** `route`: the pattern, never the path, which may hold a number. */
  end(request: { method: string; route: string; status: number }): void;
}

export interface TracingSettings {
  /** Where a collector takes OTLP over HTTP, without `/v1/traces`. */
  endpoint: string;
  /** Sent along, such as a key. */
  headers: Record<string, string>;
  serviceName: string;
  version: string;
  /** Of traces that begin here. */
  ratio: number;
}

const UNTRACED: RequestSpan = { end: () => {} };

/** For a service that is not to be traced: costs nothing. */
export const NO_TRACING: Tracing<never> = {
  telemetry: undefined,
  request(_headers, run) {
    run();
    return UNTRACED;
  },
  call: (_labels, run) => run(),
  current: () => undefined,
  within: (_carrier, _recorded, run) => run(),
  stop: async () => {},
};
