import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import type { OpenAttempt, Provider, SendRequest } from "../../src/channels/provider.ts";
import { PermanentError, type ProviderError, RateLimitedError, TransientError } from "../../src/core/errors.ts";

/** What the vendor is made to do with the next message to a recipient. */
const SITUATIONS = [
  "accepts",
  "refuses_for_good",
  "limits_rate",
  "fails_before_accepting",
  "is_unreachable",
  "never_answers",
  "times_out_unresolvably",
  "breaks_off_after_accepting",
  "times_out_after_accepting",
] as const;
export type Situation = (typeof SITUATIONS)[number];

/** A provider with a vendor behind it that can be told how to behave. */
export interface ProviderUnderTest extends AsyncDisposable {
  provider: Provider;
  /** A recipient for whom the vendor behaves so. */
  recipientFor(situation: Situation): Promise<string> | string;
  /** How many messages to this recipient the vendor took, where it can be asked. */
  acceptedFor(to: string): Promise<number> | number;
  /** Must never stand in an error. */
  secrets: string[];
  /** What its channel carries; default: a text. */
  content?: unknown;
  /** The channel, if not SMS; where senders have lanes, one that is connected here, with its account and lane. */
  attempt?: Partial<Pick<SendRequest, "channel" | "accountId" | "from" | "lane">>;
}

/** What is so of a vendor in general. */
export interface VendorTraits {
  /** Situations that it cannot be brought into, and why. */
  never?: Partial<Record<Situation, string>>;
  /**
   * Each sender has a connection of its own, and a lane. So it is known before a call that the vendor cannot be reached:
   * messages wait for their sender, which costs none of their tries.
   */
  lanes?: boolean;
}

const TEXT = "Bonjour, votre vélo (réf. 4412) est-il à vendre ?";
const FROM = "+33987650000";

const EXPECTED = {
  refuses_for_good: { type: PermanentError, delivery: "not_sent" },
  limits_rate: { type: RateLimitedError, delivery: "not_sent" },
  fails_before_accepting: { type: TransientError, delivery: "not_sent" },
  is_unreachable: { type: TransientError, delivery: "not_sent" },
  times_out_unresolvably: { type: TransientError, delivery: "unknown" },
  breaks_off_after_accepting: { type: TransientError, delivery: "unknown" },
  times_out_after_accepting: { type: TransientError, delivery: "unknown" },
} as const;

/** What a sender's own connection knows before the call. */
const UNCONNECTED = { type: RateLimitedError, delivery: "not_sent" } as const;

let sequence = 0;

function attemptTo(
  to: string,
  { content = { text: TEXT }, attempt }: Pick<ProviderUnderTest, "content" | "attempt">,
): OpenAttempt {
  const id = `m${++sequence}`;
  return {
    attemptId: `${id}-a1`,
    messageId: id,
    accountId: undefined,
    channel: "sms",
    lane: undefined,
    attemptNumber: 1,
    to,
    from: FROM,
    content,
    startedAt: Date.now(),
    ...attempt,
  };
}

function send(provider: Provider, request: SendRequest, signal = new AbortController().signal) {
  return provider.send(request, signal).then(
    (result) => ({ result, error: undefined }),
    (error: unknown) => ({ result: undefined, error }),
  );
}

/** As the worker does: where senders have lanes, not before the message's own is connected. */
async function reconcile({ provider }: ProviderUnderTest, attempt: OpenAttempt) {
  if (provider.lanes) await provider.admit?.(attempt, new AbortController().signal);
  return provider.reconcile?.(attempt);
}

/**
 * The suite that every provider passes. `situations` are those that this vendor can be brought into: a test is defined
 * for each, and none is skipped. Of any other it has to be said why there cannot be a test.
 */
export function describeProvider(
  name: string,
  situations: readonly Situation[],
  start: (situation: Situation) => Promise<ProviderUnderTest>,
  { never = {}, lanes = false }: VendorTraits = {},
): void {
  const reasons = Object.entries(never).map(([situation, reason]) => `${situation}: ${reason}`);
  const exceptions = reasons.length > 0 ? `, but for ${reasons.join("; ")}` : "";

  describe(`${name} keeps the provider contract`, () => {
    test(`it can be brought into every situation${exceptions}`, () => {
      expect([...situations, ...Object.keys(never)].toSorted()).toEqual(SITUATIONS.toSorted());
    });

    test("an accepted message has an id of the provider's, and is taken once", async () => {
      await using subject = await start("accepts");
      const to = await subject.recipientFor("accepts");
      const { result } = await send(subject.provider, attemptTo(to, subject));
      expect(result?.providerMessageId).toMatch(/\S/);
      expect(await subject.acceptedFor(to)).toBe(1);
    });

    for (const situation of situations) {
      if (!(situation in EXPECTED)) continue;
      const isWaitedFor = lanes && situation === "is_unreachable";
      const { type, delivery } = isWaitedFor ? UNCONNECTED : EXPECTED[situation as keyof typeof EXPECTED];
      test(`a vendor that ${situation.replaceAll("_", " ")} gives a ${type.name}, delivery ${delivery}, with a code and no secret, number or text`, async () => {
        await using subject = await start(situation);
        const to = await subject.recipientFor(situation);
        const { error } = await send(subject.provider, attemptTo(to, subject));
        expect(error).toBeInstanceOf(type);
        expect((error as ProviderError).delivery).toBe(delivery);
        expect(await subject.acceptedFor(to)).toBe(situation.endsWith("after_accepting") ? 1 : 0);
        expect(error).toMatchObject({ provider: subject.provider.name, code: expect.stringMatching(/^[a-z0-9_]+$/) });
        const everything = inspect(error, { depth: 10, showHidden: true });
        for (const secret of [...subject.secrets, to, to.slice(1), FROM, TEXT]) {
          expect(everything).not.toContain(secret);
        }
      });
    }

    test("a limit says how long to wait and whom it concerns", async () => {
      await using subject = await start("limits_rate");
      const { error } = await send(subject.provider, attemptTo(await subject.recipientFor("limits_rate"), subject));
      const { retryAfterMs, scope } = error as RateLimitedError;
      expect(retryAfterMs).toBeGreaterThan(0);
      expect(["message", "sender", "provider"]).toContain(scope);
    });

    test("an abort settles the call at once, with an error of the taxonomy", async () => {
      await using subject = await start("never_answers");
      const to = await subject.recipientFor("never_answers");
      const controller = new AbortController();
      const sending = send(subject.provider, attemptTo(to, subject), controller.signal);
      controller.abort();
      const { error } = await sending;
      expect(error).toBeInstanceOf(TransientError);
      expect((error as ProviderError).code).toMatch(/_aborted$/);
    });

    for (const situation of situations.filter((each) => each === "times_out_after_accepting")) {
      test("an abort when the vendor has the message already settles the call too, and leaves it in doubt", async () => {
        await using subject = await start(situation);
        const to = await subject.recipientFor(situation);
        const controller = new AbortController();
        const sending = send(subject.provider, attemptTo(to, subject), controller.signal);
        await expect.poll(() => subject.acceptedFor(to), { interval: 5 }).toBe(1);
        controller.abort();
        expect((await sending).error).toMatchObject({
          name: "TransientError",
          delivery: "unknown",
          code: expect.stringMatching(/_aborted$/),
        });
      });
    }

    test("a call that was aborted before it began sends nothing, and says so", async () => {
      await using subject = await start("accepts");
      const to = await subject.recipientFor("accepts");
      const { error } = await send(subject.provider, attemptTo(to, subject), AbortSignal.abort());
      expect(error).toMatchObject({ name: "TransientError", delivery: "not_sent" });
      expect(await subject.acceptedFor(to)).toBe(0);
    });

    test("an accepted attempt is reconciled as accepted, with the id that send gave", async () => {
      await using subject = await start("accepts");
      const attempt = attemptTo(await subject.recipientFor("accepts"), subject);
      const { result } = await send(subject.provider, attempt);
      expect(await reconcile(subject, attempt)).toEqual({ result: "accepted", ...result });
    });

    test("an attempt of which nothing can be known is reconciled as inconclusive", async () => {
      await using subject = await start("times_out_unresolvably");
      const attempt = attemptTo(await subject.recipientFor("times_out_unresolvably"), subject);
      await send(subject.provider, attempt);
      expect(await reconcile(subject, attempt)).toMatchObject({ result: "inconclusive" });
    });

    for (const situation of situations.filter((each) => each.endsWith("after_accepting"))) {
      test(`an attempt at a vendor that ${situation.replaceAll("_", " ")} is reconciled as accepted`, async () => {
        await using subject = await start(situation);
        const attempt = attemptTo(await subject.recipientFor(situation), subject);
        await send(subject.provider, attempt);
        expect(await reconcile(subject, attempt)).toMatchObject({ result: "accepted" });
      });
    }

    if (lanes) describeLanes(start);
  });
}

/** What is asked besides of a provider whose senders have lanes. */
function describeLanes(start: (situation: Situation) => Promise<ProviderUnderTest>): void {
  test("a message is in the lane of its sender, and there is none for anybody else's", async () => {
    await using subject = await start("accepts");
    const { accountId, from, lane } = attemptTo(await subject.recipientFor("accepts"), subject);
    const { lanes } = subject.provider;
    const message = { accountId, sender: from, recipient: FROM };
    expect(await lanes?.all()).toContain(lane);
    for (const sender of [from, undefined]) expect(await lanes?.laneOf({ ...message, sender }, undefined)).toBe(lane);
    for (const other of [
      { ...message, accountId: "acc_other" },
      { ...message, accountId: undefined },
    ]) {
      expect(await lanes?.laneOf(other, lane)).toBeUndefined();
      expect(await lanes?.senderFault(other)).toMatchObject({ pointer: "/accountId" });
    }
    expect(await lanes?.senderFault(message)).toBeUndefined();
    expect(await lanes?.senderFault({ ...message, sender: FROM })).toMatchObject({ pointer: "/senderPhone" });
  });

  test("a message whose sender is not connected here is not sent, and may be elsewhere", async () => {
    await using subject = await start("accepts");
    const to = await subject.recipientFor("accepts");
    const { error } = await send(subject.provider, { ...attemptTo(to, subject), lane: "elsewhere" });
    expect(error).toMatchObject({ name: "RateLimitedError", scope: "sender" });
    expect(await subject.acceptedFor(to)).toBe(0);
  });

  test("a message of nobody's ends, in words", async () => {
    await using subject = await start("accepts");
    const to = await subject.recipientFor("accepts");
    const attempt = { ...attemptTo(to, subject), accountId: "acc_other", lane: undefined };
    const { error } = await send(subject.provider, attempt);
    expect(error).toMatchObject({ name: "PermanentError", code: "no_session" });
    expect(await subject.acceptedFor(to)).toBe(0);
  });

  test("a message may go when its sender is connected; else it waits, before any attempt, until the service stops", async () => {
    await using connected = await start("accepts");
    const signal = new AbortController().signal;
    const attempt = attemptTo(await connected.recipientFor("accepts"), connected);
    expect(await connected.provider.admit?.(attempt, signal)).toEqual({ verdict: "go" });

    await using subject = await start("is_unreachable");
    const to = await subject.recipientFor("is_unreachable");
    const controller = new AbortController();
    const admission = subject.provider.admit?.(attemptTo(to, subject), controller.signal);
    const reason = new Error("The service is stopping.");
    controller.abort(reason);
    await expect(admission).rejects.toBe(reason);
    expect(await subject.acceptedFor(to)).toBe(0);
  });
}
