import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { finished, settles, submit } from "../helpers/hunts.ts";
import { contact, openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";

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
/** A caller's trace of its own; W3C's version, trace, span and flags. */
const traceOf = (no: number): { traceId: string; headers: { traceparent: string } } => {
  const traceId = String(no).padStart(32, "a");
  return { traceId, headers: { traceparent: `00-${traceId}-${CALLER.spanId}-01` } };
};

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
  service = await start();
});

const start = (): Promise<TestService> =>
  world.start({
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(collector.address() as AddressInfo).port}/`,
    OTEL_EXPORTER_OTLP_HEADERS: "api-key=abc%20def, other=1",
    OTEL_SERVICE_NAME: "worker-under-test",
  });
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  collector.close();
});

const named = (name: RegExp, kind: number): Span | undefined =>
  spans.find((span) => span.traceId === CALLER.traceId && span.kind === kind && name.test(span.name));
/** What each call of a provider came to, of those in a trace. */
const callsIn = (traceId: string): unknown[] =>
  spans
    .filter((span) => span.traceId === traceId && span.name === "send sandbox")
    .map(({ attributes }) => attributes.find(({ key }) => key === "auto_prospect.result")?.value["stringValue"])
    .toSorted();
const callsOutside = (traceIds: string[]): Span[] =>
  spans.filter(({ name, traceId }) => name === "send sandbox" && !traceIds.includes(traceId));

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

test("hunts of two callers who trace → the calls for their contacts, tried again or not, are in their traces", async () => {
  const [first, second] = [traceOf(1), traceOf(2)];
  const accountId = await world.account();
  const tried = contact({ recipientPhone: "+33612340003" });
  const one = await submit(
    service,
    { accountId, contacts: [contact({ recipientPhone: "+33612345679" }), tried] },
    first.headers,
  );
  const two = await submit(
    service,
    { accountId, contacts: [contact({ recipientPhone: "+33612345680" })] },
    second.headers,
  );
  await finished(service, one.jobId);
  await finished(service, two.jobId);
  await expect.poll(() => callsIn(first.traceId)).toEqual(["not_sent", "not_sent", "sent", "sent"]);
  await expect.poll(() => callsIn(second.traceId)).toEqual(["sent"]);
  expect(callsOutside([CALLER.traceId, first.traceId, second.traceId])).toEqual([]);
});

test("workers that look for jobs in vain → no trace", async () => {
  await service.stop();
  const idle = spans.filter(({ parentSpanId, kind }) => !parentSpanId && kind === 1);
  expect(idle).toEqual([]);
});

test("a hunt that was planned before a restart, and is sent after it → its calls are in its request's trace", async () => {
  const [asked, moved] = [traceOf(3), traceOf(4)];
  service = await start();
  const accountId = await world.account();
  const sendAt = new Date(Date.now() + 86_400_000).toISOString();
  const hunt = { accountId, sendAt, contacts: [contact({ recipientPhone: "+33612345681" })] };
  const { jobId, huntId } = await submit(service, hunt, asked.headers);
  await expect
    .poll(async () => (await service.get(`/api/hunt/${huntId}/messages`)).body.messages)
    .toMatchObject([{ status: "queued" }]);
  await service.stop();

  service = await start();
  const answer = await fetch(`${service.url}/api/hunts/${huntId}`, {
    method: "PATCH",
    headers: { authorization: `Bearer ${SECRET}`, "content-type": "application/json", ...moved.headers },
    body: JSON.stringify({ sendAt: "2020-02-29T12:00:00Z" }),
  });
  expect(answer.status).toBe(200);
  await finished(service, jobId);
  await expect.poll(() => callsIn(asked.traceId)).toEqual(["sent"]);
  expect(callsIn(moved.traceId)).toEqual([]);
});
