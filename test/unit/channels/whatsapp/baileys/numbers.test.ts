import type { WASocket } from "@whiskeysockets/baileys";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Numbers } from "../../../../../src/channels/whatsapp/providers/baileys/numbers.ts";
import { systemClock } from "../../../../../src/core/clock.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const SLOW_DOWN = 429;
/** After which whatever is asked together has been asked, milliseconds. */
const ASKED_MS = 2;
const phones = (count: number): string[] => Array.from({ length: count }, (_, i) => `+336${10_000_000 + i}`);

/** Numbers of which nothing is stored, and a WhatsApp that refuses a question with a code, is silent, or answers that all are there. */
function open(refusal: (asked: string[]) => number | "silent" | undefined) {
  const questions: string[][] = [];
  let answering = Promise.withResolvers<void>();
  const sock = {
    async onWhatsApp(...asked: string[]) {
      questions.push(asked);
      await answering.promise;
      const code = refusal(asked);
      if (code === "silent") throw new Error("Timed Out");
      if (code !== undefined) throw Object.assign(new Error("refused"), { data: code });
      return asked.map((phone) => ({ jid: `${phone.slice(1)}@s.whatsapp.net`, exists: true }));
    },
    signalRepository: { lidMapping: { getLIDsForPNs: async () => [], getLIDForPN: async () => null } },
  } as unknown as WASocket;
  const store = { number: async () => undefined, keepNumber: async () => {}, phonesOf: async () => [] };
  const numbers = new Numbers(store, systemClock);
  /** Who was found and who was not, where WhatsApp answers when it has been asked about all. */
  const find = async (wanted: string[]): Promise<string[]> => {
    answering = Promise.withResolvers();
    const all = Promise.allSettled(wanted.map((phone) => numbers.find(phone, sock)));
    await vi.advanceTimersByTimeAsync(ASKED_MS);
    answering.resolve();
    return (await all).map(({ status }) => status);
  };
  return { numbers, questions, find };
}

test("WhatsApp refuses to answer about 39 strangers → asked twice, then after ever longer pauses up to a minute", async () => {
  let isRefusing = true;
  const { numbers, questions, find } = open(() => (isRefusing ? SLOW_DOWN : undefined));
  const refused = Array(39).fill("rejected");
  const pauses: number[] = [];
  for (let round = 1; round <= 9; round++) {
    expect(await find(phones(39))).toEqual(refused);
    expect(questions.map(({ length }) => length)).toEqual(Array.from({ length: round }, () => [20, 19]).flat());
    pauses.push(numbers.waitMs);
    // In the pause nothing is asked.
    expect(await find(phones(39))).toEqual(refused);
    expect(questions).toHaveLength(2 * round);
    await vi.advanceTimersByTimeAsync(numbers.waitMs + 1);
    expect(numbers.waitMs).toBe(0);
  }
  pauses.forEach((pause, round) => {
    const full = Math.min(60_000, 1000 * 2 ** round);
    expect(pause).toBeGreaterThanOrEqual(full / 2);
    expect(pause).toBeLessThanOrEqual(full);
  });
  isRefusing = false;
  expect(await find(phones(39))).toEqual(Array(39).fill("fulfilled"));
  isRefusing = true;
  await find(["+33700000000"]);
  expect(numbers.waitMs).toBeLessThanOrEqual(1000);
});

test("WhatsApp finds a number among twenty malformed → that one is not found, the others are, and nothing pauses", async () => {
  const wanted = phones(20);
  const { numbers, find } = open((asked) => (asked.includes(wanted[7] as string) ? 400 : undefined));
  expect(await find(wanted)).toEqual(wanted.map((_, i) => (i === 7 ? "rejected" : "fulfilled")));
  expect(numbers.waitMs).toBe(0);
});

test("WhatsApp does not answer → the same people are not asked about again in smaller groups, and nothing pauses", async () => {
  const { numbers, questions, find } = open(() => "silent");
  expect(await find(phones(39))).toEqual(Array(39).fill("rejected"));
  expect(questions.map(({ length }) => length)).toEqual([20, 19]);
  expect(numbers.waitMs).toBe(0);
});
