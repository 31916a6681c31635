import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Clock } from "../../../../../src/core/clock.ts";
import {
  Pace,
  type PaceOptions,
  type PaceSettings,
} from "../../../../../src/channels/whatsapp/providers/baileys/pacing.ts";

const NOON = Date.parse("2026-11-22T12:00:00Z");
const HOUR = 3_600_000;
const OPEN: PaceSettings = {
  messagesPerMinute: null,
  minGapMs: 0,
  maxGapMs: 0,
  newContactsPerDay: null,
  warmUpDays: 0,
  typing: false,
};
const clock: Clock = { now: () => Date.now(), monotonic: () => performance.now() };

beforeEach(() => void vi.useFakeTimers({ now: NOON }));
afterEach(() => void vi.useRealTimers());

const paceOf = (settings: Partial<PaceSettings>, options: Partial<PaceOptions> = {}): Pace =>
  new Pace({
    settings: { ...OPEN, ...settings },
    clock,
    pairedAt: NOON - 365 * 24 * HOUR,
    newContactsToday: 0,
    coldPausedUntil: null,
    ...options,
  });

/** Numbers that look random and are the same each time. */
function seeded(): () => number {
  let state = 1;
  return () => (state = (state * 16_807) % 2_147_483_647) / 2_147_483_647;
}

/** Asks for so many turns at once; fills in when each of them came, from now, in milliseconds. */
function departures(pace: Pace, count: number, signal?: AbortSignal): number[] {
  const start = performance.now();
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    pace.turn(signal).then(
      () => times.push(performance.now() - start),
      () => {},
    );
  }
  return times;
}

const gapsOf = (times: number[]): number[] => times.slice(1).map((time, i) => time - (times[i] as number));

describe("turn", () => {
  test("everything open → a thousand go without a timer", async () => {
    const setTimer = vi.spyOn(globalThis, "setTimeout");
    const pace = paceOf({});
    for (let i = 0; i < 1000; i++) await pace.turn();
    expect(setTimer).not.toHaveBeenCalled();
    expect(vi.getTimerCount()).toBe(0);
  });

  test("six a minute without gaps → one at once, then one each ten seconds", async () => {
    const times = departures(paceOf({ messagesPerMinute: 6 }), 4);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(times.map(Math.round)).toEqual([0, 10_000, 20_000, 30_000]);
  });

  test("after a pause → two at once, not more", async () => {
    const pace = paceOf({ messagesPerMinute: 6 });
    await vi.advanceTimersByTimeAsync(HOUR);
    const times = departures(pace, 4);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(times.map(Math.round)).toEqual([0, 0, 10_000, 20_000]);
  });

  test("one a minute after a pause → still one a minute", async () => {
    const pace = paceOf({ messagesPerMinute: 1 });
    await vi.advanceTimersByTimeAsync(HOUR);
    const times = departures(pace, 3);
    await vi.advanceTimersByTimeAsync(300_000);
    expect(times.map(Math.round)).toEqual([0, 60_000, 120_000]);
  });

  test("one each two minutes → that", async () => {
    const times = departures(paceOf({ messagesPerMinute: 0.5 }), 3);
    await vi.advanceTimersByTimeAsync(HOUR);
    expect(times.map(Math.round)).toEqual([0, 120_000, 240_000]);
  });

  test("a restart → no fresh burst: each start may send one", async () => {
    for (let start = 0; start < 10; start++) {
      const times = departures(paceOf({ messagesPerMinute: 6 }), 5);
      await vi.advanceTimersByTimeAsync(1000);
      expect(times).toHaveLength(1);
    }
  });

  test("a restart → the first one keeps the gap as well", async () => {
    const times = departures(paceOf({ minGapMs: 3000, maxGapMs: 9000 }, { random: () => 0.5 }), 1);
    await vi.advanceTimersByTimeAsync(4000);
    expect(times).toEqual([]);
    await vi.advanceTimersByTimeAsync(500);
    expect(times).toEqual([4500]);
  });

  test("gaps → between the bounds, uneven, more short ones than long ones", async () => {
    const times = departures(paceOf({ minGapMs: 3000, maxGapMs: 15_000 }, { random: seeded() }), 500);
    await vi.advanceTimersByTimeAsync(500 * 15_000);
    const gaps = gapsOf(times);
    expect(gaps).toHaveLength(499);
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(3000);
    expect(Math.max(...gaps)).toBeLessThanOrEqual(15_001);
    expect(new Set(gaps.map((gap) => Math.round(gap / 100))).size).toBeGreaterThan(50);
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
    expect(mean).toBeGreaterThan(6500);
    expect(mean).toBeLessThan(7500);
    expect(gaps.filter((gap) => gap < 6000).length).toBeGreaterThan(220);
    expect(gaps.filter((gap) => gap > 11_000).length).toBeGreaterThan(50);
  });

  test("a rate that is slower than the gaps → reached, never passed in any minute, and not in an even beat", async () => {
    const times = departures(
      paceOf({ messagesPerMinute: 8, minGapMs: 2000, maxGapMs: 8000 }, { random: seeded() }),
      800,
    );
    await vi.advanceTimersByTimeAsync(800 * 10_000);
    expect(times).toHaveLength(800);
    for (const [i, time] of times.entries()) {
      const inMinute = times.slice(i, i + 20).filter((other) => other < time + 60_000 - 1);
      expect(inMinute.length).toBeLessThanOrEqual(8);
    }
    const perMinute = (799 * 60_000) / ((times.at(-1) as number) - (times[0] as number));
    expect(perMinute).toBeGreaterThan(6.5);
    // An even beat of 7.5 seconds would leave next to nothing outside.
    const [quick, slow] = [gapsOf(times).filter((gap) => gap < 5000), gapsOf(times).filter((gap) => gap > 10_000)];
    expect(quick.length).toBeGreaterThan(100);
    expect(slow.length).toBeGreaterThan(100);
    expect(Math.min(...gapsOf(times))).toBeGreaterThanOrEqual(2000);
  });

  test("turns that are asked for at the same time → come in that order", async () => {
    const pace = paceOf({ minGapMs: 100, maxGapMs: 5000 }, { random: seeded() });
    const order: number[] = [];
    for (let i = 0; i < 20; i++) void pace.turn().then(() => order.push(i));
    await vi.advanceTimersByTimeAsync(100_000);
    expect(order).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(vi.getTimerCount()).toBe(0);
  });

  test("the time has come for the first, whose timer is late → a newcomer does not overtake it", async () => {
    let now = 0;
    const pace = paceOf({ minGapMs: 1000, maxGapMs: 1000 }, { clock: { now: () => NOON + now, monotonic: () => now } });
    const order: string[] = [];
    void pace.turn().then(() => order.push("first"));
    now = 1000;
    void pace.turn().then(() => order.push("second"));
    await vi.advanceTimersByTimeAsync(1000);
    expect(order).toEqual(["first"]);
    now = 2000;
    await vi.advanceTimersByTimeAsync(1000);
    expect(order).toEqual(["first", "second"]);
  });

  test("many that wait → one timer, which fires once a turn", async () => {
    const setTimer = vi.spyOn(globalThis, "setTimeout");
    const times = departures(paceOf({ minGapMs: 1000, maxGapMs: 1000 }), 100);
    expect(vi.getTimerCount()).toBe(1);
    await vi.advanceTimersByTimeAsync(100_000);
    expect(times).toHaveLength(100);
    expect(setTimer.mock.calls.length).toBeLessThanOrEqual(110);
  });

  test("one that still types → the next keeps the gap from its end", async () => {
    const pace = paceOf({ minGapMs: 1000, maxGapMs: 1000 });
    await vi.advanceTimersByTimeAsync(1000);
    await pace.turn(undefined, 5000);
    const times = departures(pace, 1);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(times).toEqual([6000]);
  });

  test("one that took long to leave → the next keeps the shortest gap from then, and is not held up otherwise", async () => {
    const pace = paceOf({ minGapMs: 300, maxGapMs: 1000 }, { random: () => 0.999_999 });
    await vi.advanceTimersByTimeAsync(1000);
    await pace.turn();
    await vi.advanceTimersByTimeAsync(900);
    pace.noteTaken();
    const late = departures(pace, 2);
    await vi.advanceTimersByTimeAsync(310);
    pace.noteTaken();
    await vi.advanceTimersByTimeAsync(2000);
    expect(late.map(Math.round)).toEqual([300, 1300]);
  });

  test("aborted before it is asked for → rejects with the reason and takes nothing", async () => {
    const pace = paceOf({ messagesPerMinute: 1 });
    await expect(pace.turn(AbortSignal.abort(new Error("stopping")))).rejects.toThrow("stopping");
    await pace.turn();
  });

  test("aborted while it waits → rejects, takes nothing, and the next is first", async () => {
    const pace = paceOf({ messagesPerMinute: 6 });
    await pace.turn();
    const stopping = new AbortController();
    const aborted = pace.turn(stopping.signal);
    const times = departures(pace, 2);
    await vi.advanceTimersByTimeAsync(5000);
    stopping.abort(new Error("stopping"));
    await expect(aborted).rejects.toThrow("stopping");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(times.map(Math.round)).toEqual([10_000, 20_000]);
  });

  test("all aborted → no timer is left", async () => {
    const pace = paceOf({ messagesPerMinute: 1 });
    const stopping = new AbortController();
    const times = departures(pace, 5, stopping.signal);
    stopping.abort();
    await vi.advanceTimersByTimeAsync(0);
    expect(times).toEqual([0]);
    expect(vi.getTimerCount()).toBe(0);
    expect(pace.status()["waiting"]).toBe(0);
  });

  test("aborted right after its turn has come → it has it, and nobody else loses theirs", async () => {
    const pace = paceOf({ minGapMs: 1000, maxGapMs: 1000 });
    const stopping = new AbortController();
    const first = pace.turn(stopping.signal);
    const times = departures(pace, 1);
    vi.advanceTimersByTime(1000);
    stopping.abort();
    await first;
    await vi.advanceTimersByTimeAsync(5000);
    expect(times).toEqual([2000]);
  });

  test("new settings → count for whoever waits", async () => {
    const pace = paceOf({ minGapMs: HOUR, maxGapMs: HOUR });
    const times = departures(pace, 2);
    await vi.advanceTimersByTimeAsync(1000);
    pace.update({ ...OPEN, minGapMs: 2000, maxGapMs: 2000 });
    await vi.advanceTimersByTimeAsync(10_000);
    expect(times).toEqual([2000, 4000]);
    pace.update({ ...OPEN, messagesPerMinute: 0 });
    const held = departures(pace, 1);
    await vi.advanceTimersByTimeAsync(100 * 24 * HOUR);
    expect(held).toEqual([]);
    expect(pace.status()["nextSendAt"]).toBeNull();
    pace.update(OPEN);
    await vi.advanceTimersByTimeAsync(0);
    expect(held).toHaveLength(1);
  });

  test("a rate set where there was none → one token, not what an hour would have filled", async () => {
    const pace = paceOf({});
    await vi.advanceTimersByTimeAsync(HOUR);
    pace.update({ ...OPEN, messagesPerMinute: 6 });
    const times = departures(pace, 2);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(times.map(Math.round)).toEqual([0, 10_000]);
  });

  test("the wall clock jumps → gaps do not", async () => {
    const pace = paceOf({ minGapMs: 1000, maxGapMs: 1000 });
    const times = departures(pace, 1);
    vi.setSystemTime(NOON + 24 * HOUR);
    await vi.advanceTimersByTimeAsync(999);
    expect(times).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(times).toHaveLength(1);
  });
});

describe("first contacts", () => {
  test("no cap → never wait", () => {
    const pace = paceOf({});
    for (let i = 0; i < 1000; i++) {
      expect(pace.coldWait()).toBeUndefined();
      pace.noteNewContact();
    }
  });

  test("the cap is reached → wait until midnight in UTC, then count afresh", () => {
    const pace = paceOf({ newContactsPerDay: 10 }, { newContactsToday: 9 });
    expect(pace.coldWait()).toBeUndefined();
    pace.noteNewContact();
    expect(pace.coldWait()).toEqual({ waitMs: 12 * HOUR, reason: "daily cap reached" });
    vi.setSystemTime(NOON + 12 * HOUR - 1);
    expect(pace.coldWait()).toEqual({ waitMs: 1, reason: "daily cap reached" });
    vi.setSystemTime(NOON + 12 * HOUR);
    expect(pace.coldWait()).toBeUndefined();
    expect(pace.status()["newContactsToday"]).toBe(0);
  });

  test("just paired → a fifth of the cap, and the whole of it when warm", () => {
    const settings = { newContactsPerDay: 40, warmUpDays: 14 };
    const fresh = paceOf(settings, { pairedAt: null, newContactsToday: 8 });
    expect(fresh.coldWait()?.reason).toBe("daily cap reached");
    fresh.notePaired(NOON - 14 * 24 * HOUR);
    expect(fresh.coldWait()).toBeUndefined();
    expect(fresh.status()["newContactsAllowedToday"]).toBe(40);
    fresh.notePaired(NOON - 24 * HOUR + 1);
    expect(fresh.status()["newContactsAllowedToday"]).toBe(8);
  });

  test("a cap of none → waits each day", () => {
    const pace = paceOf({ newContactsPerDay: 0 });
    expect(pace.coldWait()?.waitMs).toBe(12 * HOUR);
    vi.setSystemTime(NOON + 13 * HOUR);
    expect(pace.coldWait()?.waitMs).toBe(23 * HOUR);
  });

  test("restricted by WhatsApp → wait as long as that, or as the cap if that is longer", () => {
    const pace = paceOf({ newContactsPerDay: 10 }, { coldPausedUntil: NOON + HOUR });
    expect(pace.coldWait()).toEqual({ waitMs: HOUR, reason: "restricted by WhatsApp (463)" });
    vi.setSystemTime(NOON + HOUR);
    expect(pace.coldWait()).toBeUndefined();
    pace.pauseCold(NOON + 2 * HOUR);
    expect(pace.coldWait()?.waitMs).toBe(HOUR);
    for (let i = 0; i < 10; i++) pace.noteNewContact();
    expect(pace.coldWait()).toEqual({ waitMs: 11 * HOUR, reason: "daily cap reached" });
    pace.pauseCold(NOON + 48 * HOUR);
    expect(pace.coldWait()).toEqual({ waitMs: 47 * HOUR, reason: "restricted by WhatsApp (463)" });
    pace.pauseCold(null);
    expect(pace.coldWait()?.reason).toBe("daily cap reached");
  });

  test("a restriction → holds back first contacts only", async () => {
    const pace = paceOf({});
    pace.pauseCold(NOON + HOUR);
    await expect(pace.turn()).resolves.toBeUndefined();
  });
});

describe("typing", () => {
  test("off → none", () => {
    expect(paceOf({}).typingMs(500)).toBe(0);
  });

  test.each([
    [0, 0.5, 1000],
    [100, 0.5, 3500],
    [100, 0, 2800],
    [100, 1, 4200],
    [10_000, 0.5, 8000],
  ])("%i characters, random %d → %i ms", (length, random, ms) => {
    expect(paceOf({ typing: true }, { random: () => random }).typingMs(length)).toBe(ms);
  });
});

test("status → everything that an operator asks about", async () => {
  const pace = paceOf(
    { messagesPerMinute: 6, newContactsPerDay: 40, warmUpDays: 14 },
    { newContactsToday: 3, coldPausedUntil: NOON + HOUR, pairedAt: NOON },
  );
  void pace.turn();
  void pace.turn();
  expect(JSON.parse(JSON.stringify(pace.status()))).toEqual({
    messagesPerMinute: 6,
    minGapMs: 0,
    maxGapMs: 0,
    newContactsPerDay: 40,
    warmUpDays: 14,
    typing: false,
    tokens: 0,
    waiting: 1,
    nextSendAt: "2026-11-22T12:00:10.000Z",
    newContactsToday: 3,
    newContactsAllowedToday: 8,
    coldPausedUntil: "2026-11-22T13:00:00.000Z",
  });
  await vi.advanceTimersByTimeAsync(HOUR);
  expect(pace.status()).toMatchObject({ waiting: 0, coldPausedUntil: null, tokens: 2 });
  expect(paceOf({}).status()).toMatchObject({ tokens: null, newContactsAllowedToday: null });
});
