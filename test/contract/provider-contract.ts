import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import type { OpenAttempt, Provider, SendRequest } from "../../src/channels/channel.ts";
import { PermanentError, type ProviderError, RateLimitedError, TransientError } from "../../src/core/errors.ts";

/** What the vendor is made to do with the next message to a recipient. */
export type Situation =
  | "accepts"
  | "refuses_for_good"
  | "limits_rate"
  | "fails_before_accepting"
  | "is_unreachable"
  | "never_answers"
  | "times_out_unresolvably"
  | "breaks_off_after_accepting"
  | "times_out_after_accepting";

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

let sequence = 0;

function attemptTo(to: string, { content = { text: TEXT } }: Pick<ProviderUnderTest, "content">): OpenAttempt {
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
  };
}

function send(provider: Provider, request: SendRequest, signal = new AbortController().signal) {
  return provider.send(request, signal).then(
    (result) => ({ result, error: undefined }),
    (error: unknown) => ({ result: undefined, error }),
  );
}

/**
 * The suite that every provider passes. `situations` are those that this vendor can be brought into: a test is defined
 * for each, and none is skipped.
 */
export function describeProvider(
  name: string,
  situations: readonly Situation[],
  start: (situation: Situation) => Promise<ProviderUnderTest>,
): void {
  describe(`${name} keeps the provider contract`, () => {
    test("an accepted message has an id of the provider's, and is taken once", async () => {
      await using subject = await start("accepts");
      const to = await subject.recipientFor("accepts");
      const { result } = await send(subject.provider, attemptTo(to, subject));
      expect(result?.providerMessageId).toMatch(/\S/);
      expect(await subject.acceptedFor(to)).toBe(1);
    });

    for (const situation of situations) {
      if (!(situation in EXPECTED)) continue;
      const { type, delivery } = EXPECTED[situation as keyof typeof EXPECTED];
      test(`a vendor that ${situation.replaceAll("_", " ")} gives a ${type.name}, delivery ${delivery}`, async () => {
        await using subject = await start(situation);
        const to = await subject.recipientFor(situation);
        const { error } = await send(subject.provider, attemptTo(to, subject));
        expect(error).toBeInstanceOf(type);
        expect((error as ProviderError).delivery).toBe(delivery);
        expect(await subject.acceptedFor(to)).toBe(situation.endsWith("after_accepting") ? 1 : 0);
      });

      test(`the error of a vendor that ${situation.replaceAll("_", " ")} has a code and tells no secret, number or text`, async () => {
        await using subject = await start(situation);
        const to = await subject.recipientFor(situation);
        const { error } = await send(subject.provider, attemptTo(to, subject));
        expect(error).toMatchObject({ provider: subject.provider.name, code: expect.stringMatching(/^[a-z0-9_]+$/) });
        const everything = inspect(error, { depth: 10, showHidden: true });
        for (const secret of [...subject.secrets, to, to.slice(1), FROM, TEXT])
          expect(everything).not.toContain(secret);
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
      expect(await subject.provider.reconcile?.(attempt)).toEqual({ result: "accepted", ...result });
    });

    test("an attempt of which nothing can be known is reconciled as inconclusive", async () => {
      await using subject = await start("times_out_unresolvably");
      const attempt = attemptTo(await subject.recipientFor("times_out_unresolvably"), subject);
      await send(subject.provider, attempt);
      expect(await subject.provider.reconcile?.(attempt)).toMatchObject({ result: "inconclusive" });
    });

    for (const situation of situations.filter((each) => each.endsWith("after_accepting"))) {
      test(`an attempt at a vendor that ${situation.replaceAll("_", " ")} is reconciled as accepted`, async () => {
        await using subject = await start(situation);
        const attempt = attemptTo(await subject.recipientFor(situation), subject);
        await send(subject.provider, attempt);
        expect(await subject.provider.reconcile?.(attempt)).toMatchObject({ result: "accepted" });
      });
    }
  });
}
