import type { Channel } from "../../src/channels/channel.ts";
import type { Provider, SendRequest, SendResult } from "../../src/channels/provider.ts";
import type { ProviderDeps } from "../../src/channels/provider-definition.ts";
import { PermanentError, RateLimitedError, TransientError } from "../../src/core/errors.ts";
import { CHANNELS } from "../../src/modules.ts";

/** What the provider does with a call: resolves when it accepts, throws what a provider may throw, or never settles. */
export type Script = (request: SendRequest, signal: AbortSignal) => Promise<SendResult> | SendResult;

export interface ScriptedProvider extends Provider {
  /** Every call of `send`, in order. */
  readonly calls: SendRequest[];
  /** How often each recipient was called. */
  callsTo(recipient: string): number;
}

export const accept: Script = ({ attemptId }) => ({ providerMessageId: `scripted:${attemptId}` });

const COMMON = { provider: "scripted" };

export const refusal = (code = "refused", suppress = false) =>
  new PermanentError("The provider refuses this message.", { ...COMMON, code, suppress });
export const notSent = (code = "unreachable") =>
  new TransientError("The provider could not be reached.", { ...COMMON, code, delivery: "not_sent" });
export const ambiguous = (code = "reset") =>
  new TransientError("The connection was reset.", { ...COMMON, code, delivery: "unknown" });
export const limited = (retryAfterMs = 1) =>
  new RateLimitedError("The provider asks to wait.", { ...COMMON, code: "limited", retryAfterMs, scope: "message" });

/** A provider that does what the test says and remembers its calls. It cannot reconcile, unless `extra` says how. */
export function scriptedProvider(script: Script = accept, extra: Partial<Provider> = {}): ScriptedProvider {
  const calls: SendRequest[] = [];
  return {
    name: "scripted",
    timeoutMs: 5000,
    reconcileAfterMs: 0,
    calls,
    callsTo: (recipient) => calls.filter(({ to }) => to === recipient).length,
    async send(request, signal) {
      calls.push(request);
      return script(request, signal);
    },
    ...extra,
  };
}

/** A channel that such a provider carries: the way to `inbound`, through which a provider reports what comes later. */
export function scriptedChannel(channel: Channel, create: (inbound: ProviderDeps["inbound"]) => Provider): Channel {
  return {
    ...channel,
    providers: [
      { name: "scripted", env: {}, configured: () => "present", create: async (_env, { inbound }) => create(inbound) },
    ],
  };
}

/** The registry, in which such a provider carries SMS. */
export const channelsWithSms = (create: (inbound: ProviderDeps["inbound"]) => Provider): Channel[] =>
  CHANNELS.map((channel) => (channel.name === "sms" ? scriptedChannel(channel, create) : channel));
