import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { createThrottle, type PacedSender, type Permit, type Throttle } from "../../../src/queues/throttle.ts";

/** Slow enough that nothing comes due while a test runs: what is due is made so by moving the state back in time. */
const PACE = { min: 0.01, max: 0.1, step: 0.02, cut: 0.5, senderOf: () => "" };
const GAP_MS = 10_000;
const prefix = `{test-${randomUUID()}}`;

let connections: Redis[];
/** Two processes. */
let one: Throttle;
let other: Throttle;
let redis: Redis;

beforeAll(() => {
  const { redisUrl } = inject("stack");
  connections = [new Redis(redisUrl), new Redis(redisUrl)];
  redis = connections[0]!;
  one = createThrottle(redis, prefix);
  other = createThrottle(connections[1]!, prefix);
});
afterAll(async () => {
  const keys = await redis.keys(`${prefix}*`);
  if (keys.length > 0) await redis.del(...keys);
  for (const connection of connections) connection.disconnect();
});

const newSender = (pace: Partial<PacedSender["pace"]> = {}): PacedSender => ({
  provider: "vendor",
  sender: `+33${randomUUID()}`,
  pace: { ...PACE, ...pace },
});
const keyOf = ({ provider, sender }: PacedSender, kind = "state"): string =>
  `${prefix}:throttle:${kind}:${provider}:${sender}`;
const ask = (sender: PacedSender, id: string, throttle = one): Promise<Permit> =>
  throttle.ask(sender, { id, patienceMs: Infinity });
const stateOf = async (sender: PacedSender) => (await one.senders()).find((state) => state.sender === sender.sender)!;

async function granted(sender: PacedSender, id: string = randomUUID()): Promise<number> {
  const permit = await ask(sender, id);
  if (permit.verdict !== "go") throw new Error(`told to wait for ${permit.delayMs} ms`);
  return permit.at;
}

async function delayOf(sender: PacedSender, id: string, throttle = one): Promise<number> {
  const permit = await ask(sender, id, throttle);
  return permit.verdict === "later" ? permit.delayMs : 0;
}

/** As if so much time had passed, for this sender. */
async function pass(sender: PacedSender, ms: number): Promise<void> {
  const key = keyOf(sender);
  for (const [field, at] of Object.entries(await redis.hgetall(key))) {
    if (/^(?:tail|held|over|last)$/.test(field)) await redis.hset(key, field, String(Number(at) - ms));
  }
  const placesKey = keyOf(sender, "places");
  const places = await redis.zrange(placesKey, "0", "-1", "WITHSCORES");
  for (let i = 0; i < places.length; i += 2) await redis.zincrby(placesKey, -ms, places[i]!);
}

/** A second is far more than the test takes between two questions, and far less than a gap. */
const closeTo = (ms: number) => ({ asymmetricMatch: (actual: number) => Math.abs(actual - ms) < 1_000 });

test("the first goes at once, the next have places a gap apart, whichever process asks", async () => {
  const sender = newSender();
  await granted(sender);
  expect(await delayOf(sender, "b", other)).toEqual(closeTo(GAP_MS));
  expect(await delayOf(sender, "c", one)).toEqual(closeTo(2 * GAP_MS));
  expect(await stateOf(sender)).toMatchObject({ rate: 0.1, min: 0.01, max: 0.1, placed: 2, refusal: undefined });
});

test("who asks too early keeps its place; who asks when it has come goes, once", async () => {
  const sender = newSender();
  await granted(sender);
  await delayOf(sender, "b");
  await delayOf(sender, "c");
  await pass(sender, GAP_MS / 2);
  expect(await delayOf(sender, "b", other)).toEqual(closeTo(GAP_MS / 2));
  await pass(sender, GAP_MS / 2);
  expect(await ask(sender, "b", other)).toMatchObject({ verdict: "go", learns: false });
  expect(await delayOf(sender, "b")).toEqual(closeTo(2 * GAP_MS));
  expect(await delayOf(sender, "c")).toEqual(closeTo(GAP_MS));
});

test("who comes much too late has lost its place, and the distance is kept", async () => {
  const sender = newSender();
  await granted(sender);
  for (const id of ["b", "c", "d"]) await delayOf(sender, id);
  await pass(sender, 10 * GAP_MS);
  await granted(sender, "d");
  expect(await delayOf(sender, "b")).toEqual(closeTo(GAP_MS));
  expect(await delayOf(sender, "c")).toEqual(closeTo(2 * GAP_MS));
});

test("a fast sender may catch up on a second, and no more", async () => {
  const sender = newSender({ max: 5 });
  await granted(sender);
  const ids = Array.from({ length: 20 }, (_, i) => `m${i}`);
  for (const id of ids) await delayOf(sender, id);
  await pass(sender, 3_000);
  const waits: number[] = [];
  for (const id of ids.slice(0, 15)) waits.push(await delayOf(sender, id));
  // Those of the last second go, those before have lost their places.
  expect(waits.filter((wait) => wait === 0).length).toBeGreaterThan(2);
  expect(waits.filter((wait) => wait === 0).length).toBeLessThan(7);
});

test("one sender's backlog is not another's, nor that of the same number at another vendor", async () => {
  const sender = newSender();
  for (const id of ["a", "b", "c"]) await ask(sender, id);
  for (const free of [newSender(), { ...sender, provider: "another" }]) {
    expect(await ask(free, "a")).toMatchObject({ verdict: "go" });
  }
});

test("whoever is late goes all the same, when nobody has gone for as long as the rate wants", async () => {
  const sender = newSender({ max: 1 });
  await granted(sender);
  const ids = Array.from({ length: 10 }, (_, i) => `m${i}`);
  for (const id of ids) await delayOf(sender, id);
  // Each is taken a fifth of a second after its place has come.
  let went = 0;
  for (const id of ids) {
    await pass(sender, 1_200);
    if ((await delayOf(sender, id)) === 0) went += 1;
  }
  expect(went).toBeGreaterThan(8);
});

test("a sender whose name ends like one of another's keys harms nobody", async () => {
  const sender = newSender();
  for (const ending of [":places", ":state", ""]) await ask({ ...sender, sender: sender.sender + ending }, "a");
  expect(await delayOf(sender, "b")).toEqual(closeTo(GAP_MS));
});

test("a backlog: places for half a minute, and behind them each comes back when it could be its turn at best", async () => {
  const sender = newSender({ max: 10 });
  const waits: number[] = [];
  const began = performance.now();
  // From the first question on, however long all of them take.
  for (let i = 0; i < 2_000; i += 1) waits.push((await delayOf(sender, `m${i}`)) + performance.now() - began);
  const { placed } = await stateOf(sender);
  // Those of half a minute at ten a second.
  expect(placed).toBeGreaterThan(290);
  expect(placed).toBeLessThan(320);
  expect(waits.at(-1)).toBeGreaterThan(160_000);
  expect(waits.at(-1)).toBeLessThan(175_000);
  // Spread evenly: in no second do many more come back than could be sent in it.
  const perSecond = Object.values(Object.groupBy(waits.slice(placed + 1), (wait) => Math.floor(wait / 1_000)));
  expect(Math.max(...perSecond.map((all) => all!.length))).toBeLessThan(20);
});

test("who comes back from behind the horizon finds a place there", async () => {
  const sender = newSender({ max: 10 });
  const waits = new Map<string, number>();
  for (let i = 0; i < 400; i += 1) waits.set(`m${i}`, await delayOf(sender, `m${i}`));
  const last = "m399";
  await pass(sender, waits.get(last)!);
  const place = await delayOf(sender, last);
  expect(place).toBeGreaterThan(15_000);
  expect(place).toBeLessThan(30_000);
  await pass(sender, place);
  expect(await delayOf(sender, last)).toBe(0);
});

test("nobody is told to come back later than within an hour, and those who would be do not come at once", async () => {
  const sender = newSender();
  await granted(sender);
  const waits: number[] = [];
  for (let i = 0; i < 1_000; i += 1) waits.push(await delayOf(sender, `m${i}`));
  expect(Math.max(...waits)).toBeLessThanOrEqual(3_600_000);
  const perMinute = Object.values(Object.groupBy(waits, (wait) => Math.floor(wait / 60_000)));
  expect(Math.max(...perMinute.map((all) => all!.length))).toBeLessThan(40);
});

test("a refusal: once slower for all that went out before it, held, and the places are void", async () => {
  const sender = newSender({ max: 10 });
  const sent: number[] = [];
  for (let i = 0; i < 2; i += 1) sent.push(await granted(sender));
  for (let i = 0; i < 20; i += 1) await delayOf(sender, `m${i}`);
  for (const at of [...sent, ...sent]) {
    await other.refused(sender, { at, retryAfterMs: 20_000, code: "vendor_429" });
  }
  const state = await stateOf(sender);
  expect(state).toMatchObject({ rate: 5, placed: 0, refusal: { code: "vendor_429", at: closeTo(sent[0]!) } });
  expect(state.heldUntil! - sent[0]!).toEqual(closeTo(20_000));
  expect(await ask(sender, "m19")).toMatchObject({
    verdict: "later",
    delayMs: closeTo(20_000),
    heldMs: closeTo(20_000),
  });
  for (let i = 0; i < 10; i += 1) await delayOf(sender, `m${i}`);
  expect(await delayOf(sender, "m18")).toEqual(closeTo(22_200));
  await redis.del(keyOf(sender, "places"));

  await pass(sender, 21_000);
  await other.refused(sender, { at: sent[0]!, retryAfterMs: 0, code: "vendor_429" });
  expect((await stateOf(sender)).rate).toBe(5);
  await pass(sender, 5_000);
  const permit = await ask(sender, "m0");
  expect(permit).toMatchObject({ verdict: "go", learns: true });
  await other.refused(sender, { at: (permit as { at: number }).at + 1, retryAfterMs: 0, code: "vendor_429" });
  expect((await stateOf(sender)).rate).toBe(2.5);
});

test("who has somebody else to go to takes no place of a sender that is held for long", async () => {
  const sender = newSender();
  const at = await granted(sender);
  await one.refused(sender, { at, retryAfterMs: 60_000, code: "vendor_429" });
  const answer = await one.ask(sender, { id: "b", patienceMs: 5_000 });
  expect(answer).toMatchObject({ verdict: "later", heldMs: closeTo(60_000) });
  expect(await delayOf(sender, "c")).toEqual(closeTo(60_000));
  expect((await stateOf(sender)).placed).toBe(1);
});

test("what is accepted makes it faster again, a step for each second's worth, up to the maximum", async () => {
  const sender = newSender({ max: 4, step: 1, min: 0.5 });
  const at = await granted(sender);
  for (let i = 0; i < 6; i += 1) {
    await one.refused(sender, { at: at + 1e9 + i, retryAfterMs: 0, code: "vendor_429" });
  }
  expect((await stateOf(sender)).rate).toBe(0.5);
  // Sent before the last cut: says nothing of the rate since.
  await other.accepted(sender, at - 1_000);
  expect((await stateOf(sender)).rate).toBe(0.5);
  const later = at + 60_000;
  await other.accepted(sender, later);
  expect((await stateOf(sender)).rate).toBe(1.5);
  for (let i = 0; i < 2; i += 1) await other.accepted(sender, later);
  const { rate } = await stateOf(sender);
  expect(rate).toBeGreaterThan(2.5);
  expect(rate).toBeLessThan(2.7);
  for (let i = 0; i < 20; i += 1) await one.accepted(sender, later);
  expect((await stateOf(sender)).rate).toBe(4);
});

test("bounds that were changed hold at once", async () => {
  const sender = newSender();
  await granted(sender);
  const faster = { ...sender, pace: { ...PACE, max: 20, min: 5 } };
  await ask(faster, "b");
  expect(await stateOf(sender)).toMatchObject({ rate: 5, min: 5, max: 20 });
});

test("a sender of which nothing was heard for a day is forgotten, and its keys are gone by themselves", async () => {
  const sender = newSender();
  await granted(sender);
  await delayOf(sender, "b");
  for (const key of [keyOf(sender), keyOf(sender, "places")]) {
    expect(await redis.pttl(key)).toBeGreaterThan(86_000_000);
  }
  const index = `${prefix}:throttle`;
  await redis.zadd(index, Date.now() - 86_500_000, `vendor:${sender.sender}`);
  expect(await stateOf(sender)).toBeUndefined();
  expect(await redis.zscore(index, `vendor:${sender.sender}`)).toBeNull();
});

test("without Redis it says so", async () => {
  const cut = new Redis(inject("stack").redisUrl, { lazyConnect: true, enableOfflineQueue: false });
  const throttle = createThrottle(cut, prefix);
  const sender = newSender();
  const away = { name: "UnavailableError", dependency: "redis" };
  await expect(ask(sender, "a", throttle)).rejects.toMatchObject(away);
  await expect(throttle.accepted(sender, 1)).rejects.toMatchObject(away);
  await expect(throttle.refused(sender, { at: 1, retryAfterMs: 1, code: "x" })).rejects.toMatchObject(away);
  await expect(throttle.senders()).rejects.toMatchObject(away);
});

test("whatever happens in whatever order: within bounds, no faster than the rate, and nobody waits beyond all bounds", async () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant("ask" as const),
      id: fc.nat(12),
      patienceMs: fc.constantFrom(5_000, Infinity),
    }),
    fc.record({ kind: fc.constant("refused" as const), ago: fc.nat(5_000), retryAfterMs: fc.nat(40_000) }),
    fc.record({ kind: fc.constant("accepted" as const), ago: fc.nat(5_000) }),
    fc.record({ kind: fc.constant("pass" as const), ms: fc.nat(20_000) }),
  );
  const pace = fc.record({ max: fc.constantFrom(0.05, 1, 30), cut: fc.constantFrom(0.3, 0.9) });
  await fc.assert(
    fc.asyncProperty(pace, fc.array(step, { minLength: 5, maxLength: 40 }), async ({ max, cut }, steps) => {
      const sender = newSender({ max, min: max / 20, step: max / 5, cut });
      let passed = 0;
      let went = 0;
      for (const each of steps) {
        const now = Date.now();
        if (each.kind === "ask") {
          const { id, ...asking } = each;
          const permit = await one.ask(sender, { id: `m${id}`, ...asking });
          if (permit.verdict === "go") went += 1;
          else expect(permit.delayMs).toBeLessThanOrEqual(3_600_000);
        } else if (each.kind === "refused") {
          const { ago, retryAfterMs } = each;
          await one.refused(sender, { at: now - ago, retryAfterMs, code: "vendor_429" });
        } else if (each.kind === "accepted") await one.accepted(sender, now - each.ago);
        else {
          passed += each.ms;
          await pass(sender, each.ms);
        }
        const state = await stateOf(sender);
        if (!state) continue;
        expect(state.rate).toBeGreaterThanOrEqual(state.min);
        expect(state.rate).toBeLessThanOrEqual(state.max);
        expect(state.placed).toBeLessThanOrEqual(13);
        // The slack, and a second of places that may be caught up on.
        expect(went).toBeLessThanOrEqual(((passed + 1_500) / 1_000) * max + 2 + max);
      }
      await redis.zrem(`${prefix}:throttle`, `vendor:${sender.sender}`);
    }),
    { numRuns: 30 },
  );
});
