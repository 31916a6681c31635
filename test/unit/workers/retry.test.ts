import { describe, expect, test } from "vitest";
import { decide } from "../../../src/workers/retry.ts";
import { ambiguous, limited, notSent, refusal } from "../../helpers/scripted.ts";

const first = { attempt: 1, maxAttempts: 3, calls: 1 };

describe("what a failed call means", () => {
  test.each([
    ["a refusal for good", refusal(), first, { result: "failed", next: "fail" }],
    ["not sent, with tries left", notSent(), first, { result: "not_sent", next: "retry" }],
    ["not sent, on the last try", notSent(), { ...first, attempt: 3 }, { result: "failed", next: "fail" }],
    ["not sent, after too many calls", notSent(), { ...first, calls: 50 }, { result: "failed", next: "fail" }],
    ["ambiguous, with tries left", ambiguous(), first, { result: "ambiguous", next: "reconcile" }],
    ["ambiguous, on the last try", ambiguous(), { ...first, attempt: 3 }, { result: "ambiguous", next: "reconcile" }],
    [
      "rate-limited, on the last try",
      limited(700),
      { ...first, attempt: 3 },
      { result: "not_sent", next: "delay", delayMs: 700 },
    ],
    ["rate-limited, after too many calls", limited(700), { ...first, calls: 50 }, { result: "failed", next: "fail" }],
    ["an error that no provider may throw", new TypeError("x"), first, { result: "ambiguous", next: "reconcile" }],
    ["an AbortError", AbortSignal.abort().reason, first, { result: "ambiguous", next: "reconcile" }],
    ["something that is no error", "boom", first, { result: "ambiguous", next: "reconcile" }],
    ["nothing", undefined, first, { result: "ambiguous", next: "reconcile" }],
  ])("%s → the decision of the table", (_, error, tries, decision) => {
    expect(decide(error, tries)).toEqual(decision);
  });
});
