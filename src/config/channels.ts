import { z } from "zod";
import type { Channel } from "../channels/channel.ts";
import type { ProviderDefinition } from "../channels/provider-definition.ts";
import type { Fault } from "../core/problem.ts";
import { faultOf, PLAIN } from "./faults.ts";

export interface ConfiguredProvider {
  definition: ProviderDefinition;
  env: Record<string, unknown>;
}

/** A channel as it will run: with a provider, or off and why. */
export interface ChannelConfig {
  /** With its own settings applied. */
  channel: Channel;
  provider: ConfiguredProvider | undefined;
  /** Those that have credentials, chosen or not. */
  available: ConfiguredProvider[];
  /** Several, in order, in place of one; and for the recipients of a country (ISO 3166-1 alpha-2) another order. */
  failover: { order: ConfiguredProvider[]; byCountry: Map<string, ConfiguredProvider[]> } | undefined;
  /** For a channel that is off: what to set, in words. */
  offBecause: string | undefined;
}

/** Each channel with its settings and its provider; what is wrong with them goes to `faults`. */
export function channelConfigs(
  channels: readonly Channel[],
  given: Record<string, unknown>,
  production: boolean,
  faults: Fault[],
): ChannelConfig[] {
  return channels
    .map((channel) => withSettings(channel, given, faults))
    .map((channel) => chooseProvider(channel, given, production, faults));
}

function withSettings(channel: Channel, given: Record<string, unknown>, faults: Fault[]): Channel {
  if (!channel.settings) return channel;
  const parsed = z.object(channel.settings.env).safeParse(given, PLAIN);
  if (parsed.success) return { ...channel, ...channel.settings.apply(parsed.data) };
  faults.push(...parsed.error.issues.map((issue) => faultOf(issue, given)));
  return channel;
}

/** The provider that is named, else the first with credentials, else the sandbox where it cannot be mistaken for real. */
function chooseProvider(
  channel: Channel,
  given: Record<string, unknown>,
  production: boolean,
  faults: Fault[],
): ChannelConfig {
  const candidates = channel.providers.map((definition) => {
    const parsed = z.object(definition.env).safeParse(given, PLAIN);
    if (!parsed.success) {
      faults.push(...parsed.error.issues.map((issue) => faultOf(issue, given)));
      return { definition, env: {}, state: "faulty" as const };
    }
    const env: Record<string, unknown> = parsed.data;
    const state = definition.configured(env);
    if (typeof state === "string") return { definition, env, state };
    faults.push(...state);
    return { definition, env, state: "faulty" as const };
  });

  const available = candidates.filter(({ state }) => state === "present");
  const variable = channel.providerVariable;
  /** The provider of that name, if it can be had. */
  const byName = (name: unknown, pointer: string) => {
    const named = candidates.find(({ definition }) => definition.name === name);
    if (!named) {
      const known = candidates.map(({ definition }) => `"${definition.name}"`).join(", ");
      faults.push({ pointer, detail: `there is no such provider for ${channel.name}; known: ${known}` });
    } else if (named.state === "absent" && name !== "sandbox") {
      const variables = Object.keys(named.definition.env).join(", ");
      faults.push({ pointer, detail: `names a provider without credentials; it reads ${variables}` });
    }
    return named;
  };

  const name = given[variable];
  const failover = chooseOrder(channel, given, byName, faults);
  if (failover) {
    if (name !== undefined) faults.push({ pointer: variable, detail: `is given beside ${orderVariable(channel)}` });
    return { channel, provider: failover.order[0], available, failover, offBecause: undefined };
  }
  const none = undefined;
  if (name !== undefined) {
    return { channel, provider: byName(name, variable), available, failover: none, offBecause: undefined };
  }
  const real = candidates.find(({ definition, state }) => state === "present" && definition.name !== "sandbox");
  const fallback = production ? undefined : candidates.find(({ definition }) => definition.name === "sandbox");
  return {
    channel,
    provider: real ?? fallback,
    available,
    failover: none,
    offBecause: `no provider has credentials; set those of one, or ${variable}=sandbox to try it without sending anything`,
  };
}

/** `SMS_PROVIDERS`: the variable that names several, in order; with `_FR` at its end for the recipients of a country. */
export const orderVariable = ({ providerVariable }: Channel): string => `${providerVariable}S`;

/** Whether one provider can stand in for another: of those whose senders are somebody's own, none can. */
export const hasFailover = ({ providers }: Channel): boolean =>
  providers.filter(({ name }) => name !== "sandbox").length > 1;

function chooseOrder(
  channel: Channel,
  given: Record<string, unknown>,
  byName: (name: string, pointer: string) => ConfiguredProvider | undefined,
  faults: Fault[],
): ChannelConfig["failover"] {
  if (!hasFailover(channel)) return undefined;
  const variable = orderVariable(channel);
  const read = (pointer: string): ConfiguredProvider[] => {
    const names = String(given[pointer])
      .split(",")
      .map((name) => name.trim());
    if (new Set(names).size < names.length) faults.push({ pointer, detail: "names a provider twice" });
    return names.flatMap((name) => byName(name, pointer) ?? []);
  };
  const countries = Object.keys(given).filter((key) => key.startsWith(`${variable}_`));
  if (given[variable] === undefined) {
    for (const pointer of countries) faults.push({ pointer, detail: `wants ${variable} beside it, for all others` });
    return undefined;
  }
  const byCountry = new Map<string, ConfiguredProvider[]>();
  for (const pointer of countries) {
    const country = pointer.slice(variable.length + 1);
    if (/^[A-Z]{2}$/.test(country)) byCountry.set(country, read(pointer));
    else faults.push({ pointer, detail: `ends in no country, such as ${variable}_FR` });
  }
  return { order: read(variable), byCountry };
}
