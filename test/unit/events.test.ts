import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import type { FetchPolicy } from "../../src/core/addresses.ts";
import { retryInMs } from "../../src/events/backoff.ts";
import { EVENTS } from "../../src/events/data.ts";
import { deliver } from "../../src/events/deliver.ts";
import { exampleOf } from "../../src/events/examples.ts";
import { masked } from "../../src/events/masked.ts";
import { createSecrets } from "../../src/events/secrets.ts";
import { EXAMPLE, WEBHOOK_TYPES, type WebhookType } from "../../src/events/types.ts";
import type { BegunDelivery } from "../../src/store/events.ts";
import { openReceiver, type Receiver } from "../helpers/webhook-receiver.ts";

let receiver: Receiver;
beforeAll(async () => {
  receiver = await openReceiver();
});
afterAll(() => receiver[Symbol.asyncDispose]());

const secrets = createSecrets([]);
const OPEN: FetchPolicy = { allowPrivate: true, ports: "any" };

function begun(url: string, attempts = 0, type: string = EXAMPLE.type): BegunDelivery {
  const event = { ...EXAMPLE, type, pos: 1, accountId: "acc", huntId: null };
  return { id: "1", claim: "c", endpointId: "e", url, secrets: [secrets.create().stored], attempts, event };
}

const attempt = (url: string, fetchPolicy: FetchPolicy | undefined, attempts = 0, type?: string) =>
  deliver(begun(url, attempts, type), {
    secrets,
    cannotOpen: () => {},
    timeoutMs: 300,
    backoffMs: 5000,
    fetchPolicy,
    clock: systemClock,
  });

test("a name that leads into a private network by the time of connecting → nothing is sent, and nothing of it is told", async () => {
  const { port } = new URL(receiver.url);
  const lookup = async () => [{ address: "127.0.0.1", family: 4 as const }];
  const before = receiver.all.length;
  const outcome = await attempt(`http://hooks.example.com:${port}/?token=hidden`, { ports: "any", lookup });
  expect(outcome).toMatchObject({ delivered: false, gone: false, entry: { status: null } });
  expect(outcome.entry.error).toMatch(/private or reserved network/);
  expect(outcome.entry.error).not.toMatch(/127\.0|hidden/);
  expect(outcome.retryInMs).toBeGreaterThan(0);
  expect(receiver.all.length).toBe(before);
});

test("a developer's own machine → is posted to, and so is a name that leads to it; nothing else that is private", async () => {
  receiver.answer(() => ({ status: 204 }));
  const { port } = new URL(receiver.url);
  const own = { allowLoopback: true };
  const leadsTo = (address: string) => ({
    ...own,
    ports: "any" as const,
    lookup: async () => [{ address, family: 4 }],
  });
  expect(await attempt(receiver.url, own)).toMatchObject({ delivered: true });
  expect(await attempt(`http://hooks.example.com:${port}/`, leadsTo("127.0.0.1"))).toMatchObject({ delivered: true });
  for (const outcome of [
    await attempt(`http://hooks.example.com:${port}/`, leadsTo("10.0.0.1")),
    await attempt("http://169.254.169.254/", own),
  ])
    expect(outcome.entry.error).toMatch(/private or reserved network/);
});

test("an answer to what is personal → is not kept, whatever it says", async () => {
  receiver.answer(() => ({ status: 500, text: "I cannot file: please come home" }));
  const answerOf = async (type: string) => (await attempt(receiver.url, OPEN, 0, type)).entry.answer;
  expect(await answerOf("message.failed")).toContain("come home");
  expect(await answerOf("message.reply")).toBeNull();
  expect(await answerOf("suppression.added")).toBeNull();
});

test("a 2xx whose body stays open or breaks off → is delivered; a 500 like that is not", async () => {
  const server = createServer((request, response) => {
    const [, status, end] = (request.url ?? "").split("/");
    response.writeHead(Number(status), { "content-length": 10 });
    response.write("ok", () => {
      if (end === "broken") response.destroy();
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  for (const end of ["open", "broken"]) {
    const taken = await attempt(`${url}/200/${end}`, OPEN);
    expect(taken).toMatchObject({ delivered: true, retryInMs: undefined, entry: { status: 200, answer: "ok" } });
    expect(await attempt(`${url}/500/${end}`, OPEN)).toMatchObject({ delivered: false, retryInMs: expect.any(Number) });
  }
  server.closeAllConnections();
  server.close();
});

test("a redirect, a silent endpoint and one that is not there → failed attempts, and nothing is followed", async () => {
  receiver.answer(({ path }) =>
    path === "/moved"
      ? { status: 307, headers: { location: `${receiver.url}/elsewhere` } }
      : new Promise<never>(() => {}),
  );
  expect(await attempt(`${receiver.url}/moved`, OPEN)).toMatchObject({ delivered: false, entry: { status: 307 } });
  expect(receiver.at("/elsewhere")).toEqual([]);
  const silent = await attempt(`${receiver.url}/silent`, OPEN);
  expect(silent).toMatchObject({
    delivered: false,
    entry: { status: null, error: expect.stringMatching(/not|stopped/) },
  });
  const nowhere = await attempt("http://127.0.0.1:1/", OPEN, 11);
  expect(nowhere).toMatchObject({ delivered: false, retryInMs: undefined });
  receiver.answer(() => ({ status: 503, headers: { "retry-after": "600" } }));
  expect((await attempt(receiver.url, OPEN)).retryInMs).toBe(600_000);
});

test("attempts → twelve, over about a day, each a little earlier or later", () => {
  const waits = Array.from({ length: 11 }, (_, i) => retryInMs(i + 1, 5000, undefined, 0) ?? Number.NaN);
  waits.forEach((wait, i) => {
    const exact = Math.min(6 * 3_600_000, 5000 * 3 ** i);
    expect(wait).toBeGreaterThanOrEqual(exact * 0.8 - 1);
    expect(wait).toBeLessThanOrEqual(exact * 1.2 + 1);
  });
  const hours = waits.reduce((sum, wait) => sum + wait, 0) / 3_600_000;
  expect(hours).toBeGreaterThan(16);
  expect(hours).toBeLessThan(30);
  expect(new Set(Array.from({ length: 20 }, () => retryInMs(1, 5000, undefined, 0))).size).toBeGreaterThan(1);
  expect(retryInMs(12, 5000, "5", 0)).toBeUndefined();
  expect(retryInMs(1, 5000, new Date(60_000).toUTCString(), 0)).toBe(60_000);
  expect(retryInMs(1, 5000, "999999999", 0)).toBe(6 * 3_600_000);
});

test.each([
  ["ok", "ok"],
  ["call +33 6 12 34 56 78\nor 06.12.34.56.78 ", "call [number] or [number]"],
  ["Bearer whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "Bearer [secret]"],
  ["for jean.dupont@example.fr", "for [address]"],
  ["x ".repeat(500), "x ".repeat(100).trim()],
  // Postgres takes no half of a surrogate pair, and nothing of what was delivered would be recorded.
  [`${"x ".repeat(99)}x🛑`, `${"x ".repeat(99)}x`],
])("%j of an answer is kept as %j", (text, kept) => {
  expect(masked(text)).toBe(kept);
});

test("secrets → are sealed with a key, and opened by it or its successor alone", () => {
  const [one, two] = [randomBytes(32).toString("base64"), randomBytes(32).toString("base64")] as const;
  const { secret, stored } = createSecrets([one]).create();
  expect(Buffer.from(secret.slice("whsec_".length), "base64")).toHaveLength(32);
  expect(stored).not.toContain(secret);
  expect(createSecrets([two, one]).open(stored)).toBe(secret);
  expect(() => createSecrets([two]).open(stored)).toThrow(/not configured/);
  expect(() => createSecrets([]).open(stored)).toThrow(/no key/);
  const open = createSecrets([]).create();
  expect(createSecrets([one]).open(open.stored)).toBe(open.secret);
});

test.each(Object.keys(WEBHOOK_TYPES) as WebhookType[])(
  "the example of %s → is such an event, with all of its fields",
  (type) => {
    const { data } = exampleOf(type);
    expect(EVENTS[type]!.parse(exampleOf(type)).data).toEqual(data);
  },
);
