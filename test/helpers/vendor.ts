import type { Provider, SendRequest } from "../../src/channels/provider.ts";
import { TransientError } from "../../src/core/errors.ts";
import { ambiguous, notSent } from "./scripted.ts";

/** Where a call stops: it has arrived and is not taken yet, or it is taken and not answered yet. */
export type Stop = "arrived" | "taken";

/** A vendor that can go away in the middle of a call, and who remembers what he was given. */
export interface Vendor {
  readonly provider: Provider;
  /** Recipients of every call that arrived, and of every message that was taken: who is in here twice was texted twice. */
  readonly arrived: string[];
  readonly taken: string[];
  /** Calls, and questions after an attempt, that came while nobody was there. */
  readonly refused: string[];
  readonly askedInVain: string[];
  /** Stops calls, each where `where` says for its recipient. Resolves when so many have been stopped. */
  hold(count: number, where: (to: string) => Stop): Promise<void>;
  /** Lets the stopped calls go on, and stops no more. */
  release(): void;
  /** Breaks every call that is under way off, and can be reached no more. */
  leave(): void;
  comeBack(): void;
}

interface Hold {
  where: (to: string) => Stop;
  left: number;
  reached: PromiseWithResolvers<void>;
  released: PromiseWithResolvers<void>;
}

/**
 * A vendor as Twilio is one: whoever is not reached was not sent to, a call that breaks off proves nothing, and of a
 * message that is not in the vendor's list nothing can be told.
 */
export function createVendor(): Vendor {
  const arrived: string[] = [];
  const taken: string[] = [];
  const refused: string[] = [];
  const askedInVain: string[] = [];
  const ids = new Map<string, string>();
  let away = false;
  let gone = Promise.withResolvers<never>();
  gone.promise.catch(() => {});
  let hold: Hold | undefined;

  async function stopAt(stop: Stop, { to }: SendRequest, signal: AbortSignal): Promise<void> {
    if (hold?.where(to) !== stop) return;
    hold.left -= 1;
    if (hold.left === 0) hold.reached.resolve();
    const given = Promise.withResolvers<never>();
    signal.addEventListener("abort", () => given.reject(ambiguous("given_up")), { once: true });
    await Promise.race([hold.released.promise, gone.promise, given.promise]);
  }

  return {
    arrived,
    taken,
    refused,
    askedInVain,
    provider: {
      name: "vendor",
      timeoutMs: 20_000,
      reconcileAfterMs: 0,
      async send(request, signal) {
        const { to, attemptId } = request;
        if (away) {
          refused.push(to);
          throw notSent();
        }
        arrived.push(to);
        await stopAt("arrived", request, signal);
        taken.push(to);
        ids.set(attemptId, `vendor:${attemptId}`);
        await stopAt("taken", request, signal);
        return { providerMessageId: `vendor:${attemptId}` };
      },
      async reconcile({ to, attemptId }) {
        if (away) {
          askedInVain.push(to);
          throw new TransientError("Nobody there.", { code: "unreachable", provider: "vendor", delivery: "unknown" });
        }
        const providerMessageId = ids.get(attemptId);
        return providerMessageId === undefined ? { result: "inconclusive" } : { result: "accepted", providerMessageId };
      },
    },
    hold(count, where) {
      const reached = Promise.withResolvers<void>();
      hold = { where, left: count, reached, released: Promise.withResolvers<void>() };
      return reached.promise;
    },
    release() {
      hold?.released.resolve();
      hold = undefined;
    },
    leave() {
      away = true;
      gone.reject(ambiguous());
    },
    comeBack() {
      away = false;
      gone = Promise.withResolvers<never>();
      gone.promise.catch(() => {});
    },
  };
}
