import { z } from "zod";

/** OpenTelemetry's own names: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ */
export const TRACING_ENV = {
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe(
      "Where an OpenTelemetry collector takes traces over HTTP, e.g. `http://collector:4318`. Without it there are none",
    ),
  OTEL_EXPORTER_OTLP_HEADERS: z
    .string()
    .regex(/^\s*[^=,\s]+=[^,]*(,\s*[^=,\s]+=[^,]*)*\s*$/, "pairs such as api-key=abc, separated by commas")
    .optional()
    .describe(
      "Headers to send along with traces, such as a key: `name=value`, separated by commas, values URL-encoded",
    ),
  OTEL_SERVICE_NAME: z.string().min(1).default("auto-prospect-worker").describe("What traces call this service"),
  OTEL_TRACES_SAMPLER_ARG: z.coerce
    .number()
    .min(0)
    .max(1)
    .default(1)
    .describe("Share of the traces that begin here which are kept"),
} satisfies z.ZodRawShape;

export interface TracingConfig {
  endpoint: string;
  headers: Record<string, string>;
  serviceName: string;
  ratio: number;
}

/** undefined: nothing is to be traced. */
export function tracingConfig(env: z.output<z.ZodObject<typeof TRACING_ENV>>): TracingConfig | undefined {
  const endpoint = env.OTEL_EXPORTER_OTLP_ENDPOINT;
  if (endpoint === undefined) return undefined;
  const pairs = (env.OTEL_EXPORTER_OTLP_HEADERS ?? "").split(",").flatMap((pair) => {
    const at = pair.indexOf("=");
    return at < 0 ? [] : [[pair.slice(0, at).trim(), decoded(pair.slice(at + 1).trim())]];
  });
  return {
    endpoint,
    headers: Object.fromEntries(pairs) as Record<string, string>,
    serviceName: env.OTEL_SERVICE_NAME,
    ratio: env.OTEL_TRACES_SAMPLER_ARG,
  };
}

function decoded(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
