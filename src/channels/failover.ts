import CircuitBreaker from "opossum";
import { PermanentError, type ProviderError, RateLimitedError, TransientError } from "../core/errors.ts";
import type { BreakerState } from "../core/gauges.ts";
import { parsePhone } from "../core/phone.ts";
import type { Provider, ProviderChoice, SendRequest, SendResult } from "./provider.ts";

export interface FailoverOptions {
  order: readonly Provider[];
  /** By ISO 3166-1 alpha-2, in place of `order`. */
  byCountry: ReadonlyMap<string, readonly Provider[]>;
  /** From a provider being taken out until one message probes it, milliseconds. */
  probeAfterMs: number;
  /** A provider was taken out, or is back. */
  onChange(provider: string, state: "out" | "back"): void;
}

/** Calls of the last minute that must have been made before a provider can be taken out, and the share that must have failed. */
const WINDOW_MS = 60_000;
const MIN_CALLS = 5;
const FAILED_PERCENT = 50;
/** Who asks to wait for no longer than this, milliseconds, has only too much to do just now. */
export const SHORT_WAIT_MS = 5_000;
const NONE_LEFT_MS = 5_000;
/** A message that lost the race for being the probe. */
const PROBED_BY_ANOTHER_MS = 1_000;
/** At the end of its error's code. */
const TAKEN_OUT = "_taken_out";

/**
 * One provider in place of several: `choice` says who carries each message. Nobody but the worker may send through it,
 * because the ledger has to know before each call who makes it.
 */
export function failover(options: FailoverOptions): Provider & { choice: ProviderChoice } {
  const { order, byCountry } = options;
  const members = new Map([...order, ...[...byCountry.values()].flat()].map((member) => [member.name, member]));
  const guarded = new Map([...members].map(([name, member]) => [name, guard(member, options)]));
  const all = [...members.values()];
  const untried = (to: string, tried: readonly string[]): Provider[] => {
    const country = byCountry.size === 0 ? undefined : countryOf(to);
    const own = (country === undefined ? undefined : byCountry.get(country)) ?? order;
    return own.filter(({ name }) => !tried.includes(name));
  };

  return {
    name: all.map(({ name }) => name).join("+"),
    timeoutMs: Math.max(...all.map(({ timeoutMs }) => timeoutMs)),
    reconcileAfterMs: Math.max(...all.map(({ reconcileAfterMs }) => reconcileAfterMs)),
    // It is not known yet who will carry a message when it is written.
    oneWay: all.some(({ oneWay }) => oneWay === true),
    asksForContent: all.some(({ asksForContent }) => asksForContent === true),
    choice: {
      retryAfterMs: NONE_LEFT_MS,
      next(to, tried) {
        const chosen = untried(to, tried).find(({ name }) => guarded.get(name)?.works() === true);
        return chosen && guarded.get(chosen.name)?.provider;
      },
      another: (to, tried) => untried(to, tried).length > 0,
      named: (name) => guarded.get(name)?.provider,
      states: () => [...guarded].map(([provider, { state }]) => ({ provider, state: state() })),
    },
    send: () => Promise.reject(new Error("Each message is sent by the provider that was chosen for it.")),
    nudge: () => all.forEach((member) => member.nudge?.()),
    start: () => all.forEach((member) => member.start?.()),
    retire: () => all.forEach((member) => member.retire?.()),
    async close() {
      for (const { stop } of guarded.values()) stop();
      for (const member of all) await member.close?.();
    },
  };
}

interface Guarded {
  provider: Provider;
  /** It is in, or it is out and this message may be the one that probes it. */
  works(): boolean;
  state(): BreakerState;
  stop(): void;
}

/** A provider behind a circuit breaker: in → out (too much has failed) → probed by one message → in or out. */
function guard(member: Provider, { probeAfterMs, onChange }: FailoverOptions): Guarded {
  const breaker = new CircuitBreaker<[SendRequest, AbortSignal], SendResult>(
    (request, signal) => member.send(request, signal),
    {
      // The provider keeps its own.
      timeout: false,
      resetTimeout: probeAfterMs,
      rollingCountTimeout: WINDOW_MS,
      volumeThreshold: MIN_CALLS,
      errorThresholdPercentage: FAILED_PERCENT,
      errorFilter: (error: unknown) => !isFailureOf(error),
    },
  );
  breaker.on("open", () => onChange(member.name, "out"));
  breaker.on("close", () => onChange(member.name, "back"));

  const { name, timeoutMs, reconcileAfterMs, reconcile, chargeOf, admit, lanes, pace } = member;
  const provider: Provider = {
    name,
    timeoutMs,
    reconcileAfterMs,
    ...(reconcile ? { reconcile: (attempt) => reconcile.call(member, attempt) } : {}),
    ...(chargeOf ? { chargeOf: (id) => chargeOf.call(member, id) } : {}),
    ...(admit ? { admit: (message, signal) => admit.call(member, message, signal) } : {}),
    ...(lanes ? { lanes } : {}),
    ...(pace ? { pace } : {}),
    async send(request, signal) {
      try {
        return await breaker.fire(request, signal);
      } catch (error) {
        if ((error as { code?: unknown }).code !== "EOPENBREAKER") throw error;
        throw new RateLimitedError("The provider has failed too often and is being probed; nothing was sent.", {
          code: `${name}${TAKEN_OUT}`,
          provider: name,
          cause: error,
          retryAfterMs: PROBED_BY_ANOTHER_MS,
          scope: "provider",
        });
      }
    },
  };
  return {
    provider,
    works: () => breaker.closed || breaker.pendingClose,
    state: () => (breaker.closed ? "in" : breaker.halfOpen ? "probed" : "out"),
    stop: () => breaker.shutdown(),
  };
}

/** Whether an error speaks against the provider, and not against one message or recipient. */
function isFailureOf(error: unknown): boolean {
  if (error instanceof PermanentError) return false;
  if (error instanceof RateLimitedError) return error.scope !== "message" && error.retryAfterMs > SHORT_WAIT_MS;
  return true;
}

/** Whether a message that a provider has refused goes to the next one: never without proof that it was not accepted. */
export function movesOn(error: unknown): error is ProviderError {
  if (error instanceof RateLimitedError) return error.retryAfterMs > SHORT_WAIT_MS || isTakenOut(error);
  return error instanceof TransientError && error.delivery === "not_sent";
}

/** Whether it was the breaker that refused, and no vendor. */
export const isTakenOut = ({ code }: ProviderError): boolean => code.endsWith(TAKEN_OUT);

function countryOf(to: string): string | undefined {
  const phone = parsePhone(to, "FR");
  return phone.ok ? phone.country : undefined;
}
