import { once } from "node:events";
import { request } from "node:http";
import { text } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { huntId } from "../helpers/hunts.ts";
import { contact, openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";

const MEBIBYTE = 1024 * 1024;
const HEADERS = { authorization: `Bearer ${SECRET}`, "content-type": "application/json" };

let world: World;
let service: TestService;

beforeAll(async () => {
  world = await openWorld();
  service = await world.start();
});
afterAll(() => world[Symbol.asyncDispose]());

async function expectNothingTaken(): Promise<void> {
  const { rows } = await world.sql.query(
    "select (select count(*) from hunts) + (select count(*) from hunt_chunks) as n",
  );
  expect(rows[0].n).toBe("0");
  expect((await service.get("/api/queues/hunt/stats")).body).toMatchObject({
    waiting: 0,
    active: 0,
    completed: 0,
    failed: 0,
  });
}

const execute = (body: Buffer | ReadableStream, headers: Record<string, string> = {}) =>
  fetch(`${service.url}/api/hunt/execute`, {
    method: "POST",
    headers: { ...HEADERS, ...headers },
    body,
    duplex: "half",
  });

test("a body of 40 MB → 413 that names the limit, nothing enqueued", async () => {
  const contacts = Array.from({ length: 25_000 }, () => contact({ message: "x".repeat(1600) }));
  const body = { huntId: huntId(), accountId: await world.account(), contacts };
  const answer = await service.post("/api/hunt/execute", body);
  expect(answer).toMatchObject({
    status: 413,
    body: { code: "body_too_large", detail: expect.stringContaining("32 MiB") },
  });
  await expectNothingTaken();
});

test("a body of 40 MB that does not say how long it is → 413", async () => {
  const block = new TextEncoder().encode(" ".repeat(MEBIBYTE));
  let sent = 0;
  const body = new ReadableStream({
    pull: (controller) => (sent++ < 40 ? controller.enqueue(block) : controller.close()),
  });
  expect((await execute(body)).status).toBe(413);
});

test("40 MB packed into a few kilobytes → 413", async () => {
  const body = gzipSync(Buffer.alloc(40 * MEBIBYTE, " "));
  expect((await execute(body, { "content-encoding": "gzip" })).status).toBe(413);
});

test("a stream of empty lines, millions of which are packed into a few kilobytes → 413, and not read to its end", async () => {
  const head = Buffer.from(`${JSON.stringify({ huntId: huntId(), accountId: await world.account() })}\n`);
  const headers = { "content-type": "application/x-ndjson", "content-encoding": "gzip" };
  const answer = await execute(gzipSync(Buffer.concat([head, Buffer.alloc(2 * MEBIBYTE, "\n")])), headers);
  expect(answer.status).toBe(413);
  expect(await answer.json()).toMatchObject({ code: "body_too_large", detail: expect.stringContaining("empty lines") });
  const blank = Buffer.concat(Array(12).fill(Buffer.from(`${" ".repeat(100_000)}\n`)));
  expect((await execute(gzipSync(Buffer.concat([head, blank])), headers)).status).toBe(413);
  await expectNothingTaken();
});

test("100,000 contacts with a wrong field each → 400 with all 100,000 pointers, and others are served meanwhile", async () => {
  const wrong = [
    { adId: "" },
    { channel: "pigeon" },
    { message: "" },
    { recipientPhone: 5 },
    { message: "x".repeat(1601) },
  ];
  const contacts = Array.from({ length: 100_000 }, (_, i) =>
    contact({ adId: `ad_${i}`, message: "Hi", ...wrong[i % 4] }),
  );
  contacts[99_999] = contact({ adId: "last", ...wrong[4] });
  const body = JSON.stringify({ huntId: huntId(), accountId: await world.account(), contacts });

  const big = request(`${service.url}/api/hunt/execute`, { method: "POST", headers: HEADERS });
  const response = once(big, "response");
  const answered = response.then(() => true);
  big.end(body);
  await once(big, "finish");
  let served = 0;
  while (!(await Promise.race([answered, service.get("/health").then(() => false)]))) served += 1;
  const [incoming] = await response;
  expect(incoming.statusCode).toBe(400);
  const { errors, detail } = JSON.parse(await text(incoming));
  expect(detail).toContain("100000 faults");
  expect(new Set(errors.map(({ pointer }: { pointer: string }) => pointer.split("/")[2])).size).toBe(100_000);
  expect(errors[99_999]).toMatchObject({ pointer: "/contacts/99999/message" });
  // One turn of the event loop in the middle would let one through; slices let many.
  expect(served).toBeGreaterThan(5);
  await expectNothingTaken();
});

test("a million numbers in place of contacts → 400, no larger than the largest request", async () => {
  const body = Buffer.from(`{"huntId":"h","accountId":"a","contacts":[${"0,".repeat(999_999)}0]}`);
  const answer = await execute(body);
  expect(answer.status).toBe(400);
  expect((await answer.arrayBuffer()).byteLength).toBeLessThan(32 * MEBIBYTE);
});

const TOO_DEEP = [{ pointer: "", detail: expect.stringMatching(/^is nested too deep: at most 100 /) }];

test.each([
  ["a thousand forbidden keys deep within lists", "[", Array(1000).fill('{"__proto__":1}').join(","), "]", 300_000],
  ["lists within lists of a body of the greatest size", "[", "", "]", 15 * MEBIBYTE],
  ["objects within each other, a million deep", '{"a":', "1", "}", 1_000_000],
  ["lists that are never closed", "[", "", "", 1_000_000],
])(
  "%s → refused as nested too deep, before it is read, and the service lives",
  async (_, open, within, close, depth) => {
    const answer = await execute(Buffer.from(open.repeat(depth) + within + close.repeat(depth)));
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ code: "invalid_request", errors: TOO_DEEP });
    expect((await service.get("/health")).status).toBe(200);
  },
  15_000,
);

test("forbidden keys as deep as may be, behind a million numbers → 400 that names the first thousand", async () => {
  const keys = '{"__proto__":1},'.repeat(2000);
  const body = `${"[".repeat(99)}${"0,".repeat(1_000_000)}${keys}0${"]".repeat(99)}`;
  const answer = await execute(Buffer.from(body));
  expect(answer.status).toBe(400);
  const { errors } = (await answer.json()) as { errors: { pointer: string; detail: string }[] };
  expect(errors).toHaveLength(1000);
  const first = { pointer: `${"/0".repeat(98)}/1000000/__proto__`, detail: "is a key that is never accepted" };
  expect(errors[0]).toEqual(first);
  expect((await service.get("/health")).status).toBe(200);
}, 15_000);

test("a message of the greatest length each in 6,000 contacts → is taken and stored", async () => {
  const contacts = Array.from({ length: 6000 }, (_, i) =>
    contact({ adId: `ad_${i}`, recipientPhone: "none", message: "é".repeat(1600) }),
  );
  const body = { huntId: huntId(), accountId: await world.account(), contacts };
  const answer = await service.post("/api/hunt/execute", body);
  expect(answer).toMatchObject({ status: 202, body: { accepted: 6000 } });
  const status = async () => (await service.get(`/api/hunt/status/${answer.body.jobId}`)).body.counts.skipped;
  await expect.poll(status, { timeout: 20_000 }).toBe(6000);
});
