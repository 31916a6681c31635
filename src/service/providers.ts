import type { Logger } from "pino";
import type { Provider } from "../channels/provider.ts";
import type { ProviderDefinition, ProviderDeps } from "../channels/provider-definition.ts";
import { failover } from "../channels/failover.ts";
import type { ChannelConfig, ConfiguredProvider } from "../config/channels.ts";

/** Makes each provider once, however many channels it carries. */
export function createProviders(
  deps: ProviderDeps,
  probeAfterMs: number,
  logOf: (room: string) => Logger,
): (chosen: ChannelConfig) => Promise<Provider | undefined> {
  const made = new Map<ProviderDefinition, Promise<Provider>>();
  const create = ({ definition, env }: ConfiguredProvider, log: Logger): Promise<Provider> => {
    const known = made.get(definition);
    const creating = known ?? definition.create(env, { ...deps, log: log.child({ provider: definition.name }) });
    made.set(definition, creating);
    return creating;
  };
  const all = (chosen: readonly ConfiguredProvider[], log: Logger): Promise<Provider[]> =>
    Promise.all(chosen.map((each) => create(each, log)));

  return async ({ channel, provider, failover: several, offBecause }) => {
    const { name } = channel;
    const log = logOf(channel.queue);
    if (!provider) {
      log.warn({ channel: name }, `channel off: ${offBecause}`);
      return undefined;
    }
    if (!several) {
      log.info({ channel: name, provider: provider.definition.name }, "channel on");
      return create(provider, log);
    }
    const carrier = failover({
      order: await all(several.order, log),
      byCountry: new Map(
        await Promise.all([...several.byCountry].map(async ([to, own]) => [to, await all(own, log)] as const)),
      ),
      probeAfterMs,
      onChange: (member, state) =>
        log.warn({ channel: name, provider: member }, state === "out" ? "provider taken out" : "provider back"),
    });
    log.info({ channel: name, provider: carrier.name }, "channel on");
    return carrier;
  };
}

/** Of those that are running, also one of several in order. */
export function providerNamed(running: readonly Provider[], name: string): Provider | undefined {
  const one = running.find((provider) => provider.name === name);
  return one ?? running.map(({ choice }) => choice?.named(name)).find((member) => member !== undefined);
}
