import { describe, expect, test, vi } from "vitest";
import type { Provider } from "../../../src/channels/provider.ts";
import { RateLimitedError, UnavailableError } from "../../../src/core/errors.ts";
import type { Metrics } from "../../../src/core/metrics.ts";
import type { Throttle } from "../../../src/queues/throttle.ts";
import { admit, learn, type Permitted } from "../../../src/workers/admission.ts";
import { type Attempt, outcomeOf } from "../../../src/workers/attempt.ts";
import { HandBack } from "../../../src/workers/hand-back.ts";
import { scriptedProvider } from "../../helpers/scripted.ts";

const pace = { min: 0.1, max: 10, step: 1, cut: 0.5, senderOf: (from = "default") => from };
const DATA = { messageId: "m1", channel: "sms", to: "+33612345678", content: {} };
const ASKING = { lane: undefined, patienceMs: Infinity };

function throttleThat(answer: () => Promise<never>) {
  return {
    ask: vi.fn<Throttle["ask"]>(answer),
    accepted: vi.fn<Throttle["accepted"]>(answer),
    refused: vi.fn<Throttle["refused"]>(answer),
    senders: vi.fn<Throttle["senders"]>(answer),
  };
}
const away = () => throttleThat(() => Promise.reject(new UnavailableError("redis", "Redis is away.")));
const admitted = (extra: Partial<Provider>, throttle = away()) =>
  admit(scriptedProvider(undefined, extra), DATA, ASKING, { throttle, leaving: new HandBack() });

describe("admitting", () => {
  test("a paced provider while Redis is away → the job is handed back, not sent unpaced", async () => {
    const throttle = away();
    await expect(admitted({ pace }, throttle)).rejects.toMatchObject({ name: "UnavailableError" });
    const { lane: _, ...asking } = ASKING;
    expect(throttle.ask).toHaveBeenCalledExactlyOnceWith(
      { provider: "scripted", sender: "default", pace },
      { id: "m1", ...asking },
    );
  });

  test.each<[string, Partial<Provider>, object]>([
    ["a provider without a pace", {}, { verdict: "go" }],
    [
      "what will not be sent anyway",
      { pace, admit: async () => ({ verdict: "go", unpaced: true }) },
      { verdict: "go" },
    ],
    [
      "what its provider puts off",
      { pace, admit: async () => ({ verdict: "later", delayMs: 5 }) },
      { verdict: "later", delayMs: 5, heldMs: 0 },
    ],
    [
      "what its provider skips",
      { pace, admit: async () => ({ verdict: "skip", code: "x", detail: "y" }) },
      { verdict: "skip", code: "x", detail: "y" },
    ],
  ])("%s → takes no time of a sender's", async (_, extra, answer) => {
    const throttle = away();
    expect(await admitted(extra, throttle)).toEqual(answer);
    expect(throttle.ask).not.toHaveBeenCalled();
  });
});

describe("learning", () => {
  const permit: Permitted = { sender: { provider: "scripted", sender: "default", pace }, at: 7, learns: true };
  const sent: Attempt = { outcome: { ...outcomeOf("m1"), result: "sent" }, next: "done" };
  const refused = (code: string, scope: "message" | "sender" | "provider"): Attempt => ({
    outcome: { ...outcomeOf("m1"), result: "not_sent", code },
    next: "delay",
    delayMs: 20,
    error: new RateLimitedError("Too fast.", { code, provider: "scripted", retryAfterMs: 20, scope }),
    reason: code,
  });
  const told = async (attempt: Attempt, given: Permitted | undefined = permit, throttle = away()) => {
    const rateLimited = vi.fn<Metrics["rateLimited"]>();
    await learn("scripted", given, attempt, { throttle, metrics: { rateLimited } as never });
    return {
      accepted: throttle.accepted.mock.calls,
      refused: throttle.refused.mock.calls,
      counted: rateLimited.mock.calls,
    };
  };

  test("an acceptance → told while the rate can grow, and Redis being away is no fault of the message's", async () => {
    expect(await told(sent)).toEqual({ accepted: [[permit.sender, 7]], refused: [], counted: [] });
    expect(await told(sent, { ...permit, learns: false })).toEqual({ accepted: [], refused: [], counted: [] });
  });

  test("a refusal of the sender → told and counted; of one recipient, or by the breaker → neither", async () => {
    const refusal = { at: 7, retryAfterMs: 20, code: "twilio_20429" };
    expect(await told(refused("twilio_20429", "provider"))).toEqual({
      accepted: [],
      refused: [[permit.sender, refusal]],
      counted: [[{ provider: "scripted" }]],
    });
    for (const other of [refused("vonage_1241", "message"), refused("twilio_taken_out", "provider")]) {
      expect(await told(other)).toEqual({ accepted: [], refused: [], counted: [] });
    }
  });

  test("a fault of ours → is not swallowed", async () => {
    const broken = throttleThat(() => Promise.reject(new TypeError("x")));
    await expect(told(sent, permit, broken)).rejects.toThrow(TypeError);
  });
});
