import { describe, expect, test, vi } from "vitest";
import { z } from "zod";
import type { OpenAttempt, Provider } from "../../../src/channels/provider.ts";
import type { Receipt, Reply } from "../../../src/core/inbound.ts";
import { AttemptLog } from "../../../src/channels/sandbox-log.ts";
import { sandboxProvider } from "../../../src/channels/sandbox.ts";
import { providerDeps } from "../../helpers/provider-deps.ts";

const NOW = Date.UTC(2026, 2, 2, 10);
const signal = new AbortController().signal;

async function startSandbox(values: { latencyMs?: number; receiptDelayMs?: number | "none" } = {}) {
  const events: (Receipt | Reply)[] = [];
  const inbound = {
    receipt: async (receipt: Receipt) => events.push(receipt) > 0,
    reply: async (reply: Reply) => {
      events.push(reply);
      return { firstStop: false };
    },
  };
  const provider = await sandboxProvider("sms").create(
    { SANDBOX_LATENCY_MS: values.latencyMs ?? 0, SANDBOX_RECEIPT_DELAY_MS: values.receiptDelayMs ?? 1 },
    providerDeps({ clock: { now: () => NOW, monotonic: () => 0 }, inbound }),
  );
  return { provider, events, [Symbol.asyncDispose]: async () => provider.close?.() };
}

function attempt(to: string, fields: Partial<OpenAttempt> = {}): OpenAttempt {
  return {
    attemptId: "m1-a1",
    messageId: "m1",
    accountId: undefined,
    channel: "sms",
    lane: undefined,
    attemptNumber: 1,
    to,
    from: undefined,
    content: { text: "a" },
    startedAt: NOW,
    ...fields,
  };
}

const codeOf = (provider: Provider, request: OpenAttempt) =>
  provider.send(request, signal).then(
    () => "accepted",
    ({ code }: { code: string }) => code,
  );

describe("the sandbox's magic numbers", () => {
  test.each([
    ["+33600000001", ["sandbox_refused", "sandbox_refused", "sandbox_refused"]],
    ["+33600000002", ["sandbox_rate_limited", "accepted", "accepted"]],
    ["+33600000003", ["sandbox_unavailable", "sandbox_unavailable", "accepted"]],
    ["+33600000004", ["sandbox_timeout", "sandbox_timeout", "sandbox_timeout"]],
    ["+33600000005", ["accepted", "accepted", "accepted"]],
    ["+33612345678", ["accepted", "accepted", "accepted"]],
  ])("the first three calls for %s come to %j", async (to, codes) => {
    await using sandbox = await startSandbox();
    const outcomes = [1, 2, 3].map((n) =>
      codeOf(sandbox.provider, attempt(to, { attemptNumber: n, attemptId: `m1-a${n}` })),
    );
    expect(await Promise.all(outcomes)).toEqual(codes);
  });

  test("an ordinary recipient's message is reported delivered", async () => {
    await using sandbox = await startSandbox();
    const result = await sandbox.provider.send(attempt("+33612345678"), signal);
    await expect.poll(() => sandbox.events).toEqual([{ provider: "sandbox", ...result, status: "delivered", at: NOW }]);
  });

  test("0005 is reported failed, with the code undelivered", async () => {
    await using sandbox = await startSandbox();
    await sandbox.provider.send(attempt("+33600000005"), signal);
    await expect.poll(() => sandbox.events).toMatchObject([{ status: "failed", code: "undelivered" }]);
  });

  test("0006 is reported delivered, then replies STOP to the sender", async () => {
    await using sandbox = await startSandbox();
    const result = await sandbox.provider.send(attempt("+33600000006", { from: "+33987650000" }), signal);
    await expect
      .poll(() => sandbox.events)
      .toMatchObject([{ status: "delivered" }, { ...result, from: "+33600000006", to: "+33987650000", text: "STOP" }]);
  });
});

describe("the sandbox's memory of attempts", () => {
  test("the same attempt sent twice is accepted once, under one id", async () => {
    await using sandbox = await startSandbox();
    const first = await sandbox.provider.send(attempt("+33612345678"), signal);
    expect(await sandbox.provider.send(attempt("+33612345678"), signal)).toEqual(first);
    await sandbox.provider.close?.();
    expect(sandbox.events).toHaveLength(1);
  });

  test("an attempt that it never saw is not accepted, and is refused should it come late", async () => {
    await using sandbox = await startSandbox();
    expect(await sandbox.provider.reconcile?.(attempt("+33612345678"))).toEqual({ result: "not_accepted" });
    expect(await codeOf(sandbox.provider, attempt("+33612345678"))).toBe("sandbox_fenced");
    expect(await sandbox.provider.reconcile?.(attempt("+33612345678"))).toEqual({ result: "not_accepted" });
    expect(await codeOf(sandbox.provider, attempt("+33612345678", { attemptId: "m1-a2" }))).toBe("accepted");
  });

  test("of an attempt from before its process began it knows nothing", async () => {
    await using sandbox = await startSandbox();
    const result = await sandbox.provider.reconcile?.(attempt("+33612345678", { startedAt: NOW - 1 }));
    expect(result).toEqual({ result: "inconclusive" });
  });

  test("what its log has forgotten is inconclusive, not denied", () => {
    let now = NOW;
    const log = new AttemptLog({ now: () => now, monotonic: () => 0 }, 2);
    for (const id of ["a", "b", "c", "d", "e"]) {
      log.accept(id);
      now += 1;
    }
    expect([log.resolve("c", NOW + 2), log.resolve("e", NOW + 4)]).toEqual(["accepted", "accepted"]);
    expect([log.resolve("a", NOW), log.resolve("x", NOW + 2)]).toEqual(["unknown", "unknown"]);
    expect(log.resolve("y", NOW + 3)).toBe("fenced");
  });

  test("an attempt that was aborted during the latency is not accepted later", async () => {
    await using sandbox = await startSandbox({ latencyMs: 2 });
    const controller = new AbortController();
    const sending = sandbox.provider.send(attempt("+33612345678"), controller.signal);
    controller.abort();
    await expect(sending).rejects.toMatchObject({ code: "sandbox_aborted", delivery: "not_sent" });
    await sandbox.provider.send(attempt("+33612345678", { attemptId: "m2-a1" }), signal);
    expect(await sandbox.provider.reconcile?.(attempt("+33612345678"))).toEqual({ result: "not_accepted" });
  });
});

describe("the sandbox's receipts", () => {
  test("close delivers those that are outstanding", async () => {
    await using sandbox = await startSandbox({ receiptDelayMs: 60_000 });
    await sandbox.provider.send(attempt("+33612345678"), signal);
    expect(sandbox.events).toEqual([]);
    await sandbox.provider.close?.();
    expect(sandbox.events).toMatchObject([{ status: "delivered" }]);
  });

  test("a delay of none means no receipts, not even at the close", async () => {
    await using sandbox = await startSandbox({ receiptDelayMs: "none" });
    await sandbox.provider.send(attempt("+33612345678"), signal);
    await sandbox.provider.close?.();
    expect(sandbox.events).toEqual([]);
  });

  test("each comes after the delay of its own message, in order, from one timer", async () => {
    vi.useFakeTimers();
    try {
      await using sandbox = await startSandbox({ receiptDelayMs: 100 });
      await sandbox.provider.send(attempt("+33612345678", { attemptId: "first" }), signal);
      vi.advanceTimersByTime(60);
      await sandbox.provider.send(attempt("+33612345678", { attemptId: "second" }), signal);
      expect(vi.getTimerCount()).toBe(1);
      vi.advanceTimersByTime(40);
      expect(sandbox.events).toMatchObject([{ providerMessageId: "sandbox:sms:first" }]);
      vi.advanceTimersByTime(60);
      expect(sandbox.events).toMatchObject([{}, { providerMessageId: "sandbox:sms:second" }]);
    } finally {
      vi.useRealTimers();
    }
  });
});

test("the sandbox's variables have defaults, and the delay may be none", () => {
  const schema = z.object(sandboxProvider("sms").env);
  expect(schema.parse({})).toEqual({ SANDBOX_LATENCY_MS: 20, SANDBOX_RECEIPT_DELAY_MS: 250 });
  expect(schema.parse({ SANDBOX_LATENCY_MS: "0", SANDBOX_RECEIPT_DELAY_MS: "none" })).toEqual({
    SANDBOX_LATENCY_MS: 0,
    SANDBOX_RECEIPT_DELAY_MS: "none",
  });
});
