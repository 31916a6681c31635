import { setTimeout as delay } from "node:timers/promises";
import { context, propagation, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, TraceFlags } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  SamplingDecision,
  TraceIdRatioBasedSampler,
  TracerProvider,
  type Sampler,
} from "@opentelemetry/sdk-trace";
import { BullMQOtel } from "bullmq-otel";
import type { Tracing, TracingSettings } from "./tracing.ts";

const NAME = "auto-prospect";
/** How often spans are sent, milliseconds. */
const SEND_MS = 1000;
const SEND_TIMEOUT_MS = 5000;
/** What is not sent by then is lost, milliseconds. */
const STOP_TIMEOUT_MS = 2000;

/**
 * Traces by OpenTelemetry, BullMQ's own among them. Loaded only when there is somewhere to send them. OpenTelemetry's API keeps
 * one provider a process: of several services in one process the first is traced.
 */
export function startOpenTelemetry({
  endpoint,
  headers,
  serviceName,
  version,
  ratio,
}: TracingSettings): Tracing<BullMQOtel> {
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ "service.name": serviceName, "service.version": version }),
    sampler: withoutIdling(ratio),
    spanProcessors: [
      new BatchSpanProcessor({
        exporter: new OTLPTraceExporter({
          url: `${endpoint.replace(/\/+$/, "")}/v1/traces`,
          headers,
          timeoutMillis: SEND_TIMEOUT_MS,
        }),
        scheduledDelayMillis: SEND_MS,
        exportTimeoutMillis: SEND_TIMEOUT_MS,
      }),
    ],
  });
  trace.setGlobalTracerProvider(provider);
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  const tracer = provider.getTracer(NAME, version);

  return {
    telemetry: new BullMQOtel({ tracerName: NAME, version }),
    request(incoming, run) {
      const caller = propagation.extract(ROOT_CONTEXT, incoming);
      const span = tracer.startSpan("request", { kind: SpanKind.SERVER }, caller);
      context.with(trace.setSpan(caller, span), run);
      return {
        end({ method, route, status }) {
          span.updateName(`${method} ${route}`);
          span.setAttributes({
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
          });
          if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
          span.end();
        },
      };
    },
    call({ channel, provider: vendor }, run, result) {
      const attributes = { "auto_prospect.channel": channel, "auto_prospect.provider": vendor };
      return tracer.startActiveSpan(`send ${vendor}`, { kind: SpanKind.CLIENT, attributes }, async (span) => {
        try {
          const value = await run();
          const came = result(value);
          span.setAttribute("auto_prospect.result", came);
          if (came !== "sent") span.setStatus({ code: SpanStatusCode.ERROR, message: came });
          return value;
        } finally {
          span.end();
        }
      });
    },
    current() {
      const span = trace.getSpanContext(context.active());
      if (!span) return undefined;
      const carrier: Record<string, string> = {};
      propagation.inject(context.active(), carrier);
      return { carrier, recorded: (span.traceFlags & TraceFlags.SAMPLED) !== 0 };
    },
    within(carrier, recorded, run) {
      const there = propagation.extract(ROOT_CONTEXT, carrier);
      const span = trace.getSpanContext(there);
      if (!span || recorded) return context.with(there, run);
      return context.with(trace.setSpanContext(there, { ...span, traceFlags: TraceFlags.NONE }), run);
    },
    async stop() {
      // A collector that is away must not keep the service from leaving.
      const sent = provider.shutdown().catch(() => {});
      await Promise.race([sent, delay(STOP_TIMEOUT_MS, undefined, { ref: false })]);
      trace.disable();
      context.disable();
      propagation.disable();
    },
  };
}

/** Idle workers look for jobs every second: what is internal and belongs to nothing is no trace. */
function withoutIdling(ratio: number): Sampler {
  const sampler = new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(ratio) });
  return {
    shouldSample(parent, traceId, name, kind, attributes, links) {
      const isIdling = kind === SpanKind.INTERNAL && trace.getSpanContext(parent) === undefined;
      if (isIdling) return { decision: SamplingDecision.NOT_RECORD };
      return sampler.shouldSample(parent, traceId, name, kind, attributes, links);
    },
    toString: () => `WithoutIdling{${sampler.toString()}}`,
  };
}
