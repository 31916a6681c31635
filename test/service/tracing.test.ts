import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { settles } from "../helpers/hunts.ts";
import { openWorld, type TestService, type World } from "../helpers/service.ts";

/** A span as OTLP/HTTP carries it in JSON. */
interface Span {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  attributes: { key: string; value: Record<string, unknown> }[];
}

const SERVER = 2;
const CLIENT = 3;
const CONSUMER = 5;
const CALLER = { traceId: "4bf92f3577b34da6a3ce929d0e0e4736", spanId: "00f067aa0ba902b7" };
const traceparent = `00-${CALLER.traceId}-${CALLER.spanId}-01`;

let world: World;
let service: TestService;
const spans: Span[] = [];
const received: { url: string | undefined; headers: IncomingHttpHeaders; body: string }[] = [];
const collector = createServer((request, response) => {
  let body = "";
  request.on("data", (chunk) => (body += String(chunk)));
  request.on("end", () => {
    received.push({ url: request.url, headers: request.headers, body });
    const { resourceSpans } = JSON.parse(body) as { resourceSpans: { scopeSpans: { spans: Span[] }[] }[] };
    spans.push(...resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans)));
    response.writeHead(200, { "content-type": "application/json" }).end("{}");
  });
});

beforeAll(async () => {
  collector.listen(0, "127.0.0.1");
  await once(collector, "listening");
  world = await openWorld();
  service = await world.start({
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(collector.address() as AddressInfo).port}/`,
    OTEL_EXPORTER_OTLP_HEADERS: "api-key=abc%20def, other=1",
    OTEL_SERVICE_NAME: "worker-under-test",
  });
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  collector.close();
});

const named = (name: RegExp, kind: number): Span | undefined =>
  spans.find((span) => span.traceId === CALLER.traceId && span.kind === kind && name.test(span.name));

test("a request of a caller who traces → one trace from it through the job to the provider's call, and nobody's number", async () => {
  const body = { recipientPhone: "+33612345678", message: "Bonjour Madame" };
  const { body: accepted } = await service.post("/api/phone/sms", body, { traceparent });
  await settles(service, accepted.messageId, "delivered");
  await expect.poll(() => named(/^send sandbox$/, CLIENT)).toBeDefined();
  await expect.poll(() => named(/sms$/, CONSUMER)).toBeDefined();
  await expect.poll(() => named(/^POST/, SERVER)).toBeDefined();

  const request = named(/^POST/, SERVER)!;
  expect(request).toMatchObject({ name: "POST /api/phone/sms", parentSpanId: CALLER.spanId });
  const send = named(/^send sandbox$/, CLIENT)!;
  const attributes = Object.fromEntries(send.attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
  expect(attributes).toEqual({
    "auto_prospect.channel": "sms",
    "auto_prospect.provider": "sandbox",
    "auto_prospect.result": "sent",
  });
  const ancestors: string[] = [];
  for (let span: Span | undefined = send; span;) {
    ancestors.push(span.spanId);
    const parent: string | undefined = span.parentSpanId;
    span = spans.find(({ spanId }) => spanId === parent);
  }
  expect(ancestors).toContain(named(/sms$/, CONSUMER)!.spanId);
  expect(ancestors.at(-1)).toBe(request.spanId);

  expect(received[0]).toMatchObject({ url: "/v1/traces", headers: { "api-key": "abc def", other: "1" } });
  const all = received.map((each) => each.body).join("\n");
  expect(all).toContain('"worker-under-test"');
  expect(all).not.toMatch(/612345678|Bonjour|Madame/);
});

test("workers that look for jobs in vain → no trace", async () => {
  await service.stop();
  const idle = spans.filter(({ parentSpanId, kind }) => !parentSpanId && kind === 1);
  expect(idle).toEqual([]);
});
