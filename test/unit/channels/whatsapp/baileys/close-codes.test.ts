import { describe, expect, test } from "vitest";
import { backOffMs, Reactions } from "../../../../../src/channels/whatsapp/providers/baileys/close-codes.ts";

const QR_ENDED = "QR refs attempts ended";

/** Reactions by a clock that the test sets. */
function reactions() {
  const clock = { ms: 0 };
  return { clock, reactions: new Reactions(() => clock.ms) };
}

describe("what is done about each way to end", () => {
  test.each([
    [515, "Stream Errored (restart required)", { do: "reconnect" }],
    [408, "Connection was lost", { do: "back-off", atLeastMs: 0 }],
    [428, "Connection Terminated", { do: "back-off", atLeastMs: 0 }],
    [500, "Stream Errored (unknown)", { do: "back-off", atLeastMs: 0 }],
    [503, "Stream Errored (unknown)", { do: "back-off", atLeastMs: 0 }],
    [599, "something new", { do: "back-off", atLeastMs: 0 }],
    [440, "Stream Errored (conflict)", { do: "back-off", atLeastMs: 0 }],
    [408, QR_ENDED, { do: "end", state: "stopped", wipe: true }],
    [401, "Connection Failure", { do: "end", state: "logged-out", wipe: true }],
    [411, "Multi-device beta not joined", { do: "end", state: "logged-out", wipe: true }],
    [402, "Connection Failure", { do: "end", state: "banned", wipe: false }],
    [403, "Connection Failure", { do: "end", state: "banned", wipe: false }],
    [406, "Connection Failure", { do: "end", state: "banned", wipe: false }],
    [405, "Connection Failure", { do: "refresh-version" }],
  ])("%i %s → %j", (code, words, expected) => {
    expect(reactions().reactions.to({ code, words })).toMatchObject(expected);
  });

  test("a 500 never wipes, however often it comes", () => {
    const { reactions: each } = reactions();
    for (let n = 0; n < 100; n++) expect(each.to({ code: 500, words: "" })).toEqual({ do: "back-off", atLeastMs: 0 });
  });
});

describe("405, the client is too old", () => {
  test("once more after a refresh → stopped, with what to set", () => {
    const { reactions: each } = reactions();
    each.to({ code: 405, words: "" });
    expect(each.to({ code: 405, words: "" })).toMatchObject({
      do: "end",
      state: "stopped",
      wipe: false,
      words: expect.stringContaining("WHATSAPP_VERSION"),
    });
  });

  test("again months after it has been open → refreshed again", () => {
    const { reactions: each } = reactions();
    each.to({ code: 405, words: "" });
    each.opened();
    expect(each.to({ code: 405, words: "" })).toEqual({ do: "refresh-version" });
  });
});

describe("440, replaced by another client", () => {
  const replaced = (seconds: number[]): number[] => {
    const { clock, reactions: each } = reactions();
    return seconds.map((second) => {
      clock.ms = second * 1000;
      const reaction = each.to({ code: 440, words: "" });
      return reaction.do === "back-off" ? reaction.atLeastMs : -1;
    });
  };

  test("the fifth within half a minute → 30 s", () => {
    expect(replaced([0, 7, 14, 21, 28])).toEqual([0, 0, 0, 0, 30_000]);
  });
  test("the fifth after half a minute → as before", () => {
    expect(replaced([0, 8, 16, 24, 30])).toEqual([0, 0, 0, 0, 0]);
  });
  test("after the long wait → counted anew", () => {
    expect(replaced([0, 1, 2, 3, 4, 35])).toEqual([0, 0, 0, 0, 30_000, 0]);
  });
});

describe("how long to wait", () => {
  test.each([
    [1, 500, 1000],
    [2, 1000, 2000],
    [3, 2000, 4000],
    [6, 16_000, 32_000],
    [7, 30_000, 60_000],
    [50, 30_000, 60_000],
    [2000, 30_000, 60_000],
  ])("before try %i: between %i and %i ms", (tries, least, most) => {
    expect(backOffMs(tries, () => 0)).toBe(least);
    expect(backOffMs(tries, () => 1)).toBe(most);
  });
  test("two sessions seldom wait for as long as each other", () => {
    expect(new Set(Array.from({ length: 20 }, () => backOffMs(5))).size).toBeGreaterThan(15);
  });
});
