import type { Logger } from "pino";
import type { LaneHost } from "../channels/lanes.ts";
import type { Provider } from "../channels/provider.ts";
import { createInbound } from "../channels/inbound.ts";
import type { Config } from "../config.ts";
import type { FetchPolicy } from "../core/addresses.ts";
import type { Clock } from "../core/clock.ts";
import type { StopNoticeOf } from "../core/rules.ts";
import type { PlanChannels } from "../hunt/plan.ts";
import type { PacedSenders } from "../store/flows.ts";
import type { Store } from "../store/store.ts";
import type { ActiveChannel } from "../workers/run-job.ts";
import { createProviders } from "./providers.ts";

/** By name, all that there are; those that are off have no provider. */
export type Channels = ReadonlyMap<string, ActiveChannel>;

interface OpenChannelsDeps {
  config: Config;
  store: Store;
  isStop(text: string): boolean;
  lanes: LaneHost;
  clock: Clock;
  log: Logger;
  logOf(room: string): Logger;
  fetchPolicy: FetchPolicy | undefined;
  /** By channel, instead of the configured provider. */
  instead: Record<string, Provider> | undefined;
}

/** Puts each channel into `channels`, with the provider that it is to have. */
export async function openChannels(
  channels: Map<string, ActiveChannel>,
  { config, store, isStop, lanes, clock, log, logOf, fetchPolicy, instead }: OpenChannelsDeps,
): Promise<void> {
  const inbound = createInbound(store, logOf("inbound"), isStop);
  const { sessions } = store;
  const { publicUrl } = config.http;
  const deps = { clock, log, inbound, sessions, lanes, fetchPolicy, publicUrl };
  const createProvider = createProviders(deps, config.providerProbeMs, logOf);
  for (const chosen of config.channels) {
    const provider = instead?.[chosen.channel.name] ?? (await createProvider(chosen));
    channels.set(chosen.channel.name, { channel: chosen.channel, provider });
  }
}

/** Each once, however many channels it carries. */
export function providersOf(channels: Channels): Set<Provider> {
  return new Set([...channels.values()].flatMap(({ provider }) => provider ?? []));
}

/** Whose senders a queue has, where they are paced: a lane is one account's. */
export function pacedSendersOf(channels: Channels, queue: string): PacedSenders | undefined {
  const carriers = [...channels.values()].flatMap(({ channel, provider }) =>
    channel.queue === queue && provider ? [provider] : [],
  );
  if (carriers.some(({ lanes }) => lanes)) return "own";
  return carriers.some(({ pace, choice }) => pace ?? choice) ? "shared" : undefined;
}

/** Whether the messages of a queue may share jobs: none waits in a lane, and nobody asks for what one says. */
export function mayBundle(channels: Channels, queue: string): boolean {
  const carriers = [...channels.values()].filter(({ channel }) => channel.queue === queue);
  return carriers.length > 0 && carriers.every(({ provider }) => !provider?.lanes && !provider?.asksForContent);
}

/** What planning wants to know of them. */
export function planChannelsOf(channels: Channels): PlanChannels {
  return new Map(
    [...channels].map(([name, { channel, provider }]) => [
      name,
      { channel, on: Boolean(provider), oneWay: provider?.oneWay === true },
    ]),
  );
}

/** Says where the service's policy keeps all marketing from going out, as its channels are set up. */
export function warnOfClosedCountries(channels: Channels, stopNoticeOf: StopNoticeOf, log: Logger): void {
  for (const { channel, provider } of channels.values()) {
    const countries = channel.closedTo?.({
      oneWay: provider?.oneWay === true,
      stopNoticeOf: (country) => stopNoticeOf(undefined, country),
    });
    if (countries?.length) {
      log.warn(
        { channel: channel.name, countries },
        "the sender is a name, which nobody can answer, and SMS_STOP_NOTICE has no short code: the default policy refuses marketing there",
      );
    }
  }
}
