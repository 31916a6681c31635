import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { KeyCache } from "../../../../../src/channels/whatsapp/providers/baileys/key-cache.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("more than four thousand keys → the least recently used go", () => {
  const cache = new KeyCache();
  for (let i = 0; i < 4000; i++) cache.set(`session.${i}`, i);
  expect(cache.get("session.0")).toBe(0);
  cache.set("session.4000", 4000);
  expect(cache.size).toBe(4000);
  expect(cache.get("session.0")).toBe(0);
  expect(cache.get("session.1")).toBeUndefined();
  expect(cache.get("session.4000")).toBe(4000);
});

test.for(["pre-key", "lid-mapping", "device-list"])("a %s → is not kept", (type) => {
  const cache = new KeyCache();
  cache.set(`${type}.1`, {});
  expect(cache.size).toBe(0);
  expect(vi.getTimerCount()).toBe(0);
});

test("a deleted key is remembered as such, and a dropped one is not", () => {
  const cache = new KeyCache();
  cache.set("session.1", null);
  expect(cache.get("session.1")).toBeNull();
  cache.del("session.1");
  expect(cache.get("session.1")).toBeUndefined();
});

test("five minutes without use → nothing is held, not even a timer", () => {
  const cache = new KeyCache();
  cache.set("session.1", 1);
  for (let minute = 0; minute < 30; minute++) {
    vi.advanceTimersByTime(60_000);
    expect(cache.get("session.1")).toBe(1);
  }
  vi.advanceTimersByTime(600_000);
  expect(cache.size).toBe(0);
  expect(vi.getTimerCount()).toBe(0);
  cache.set("session.2", 2);
  expect(vi.getTimerCount()).toBe(1);
  cache.flushAll();
  expect(cache.size).toBe(0);
  expect(vi.getTimerCount()).toBe(0);
});
