import { type WebhookDeps, counted } from "../channels/webhooks.ts";
import type { Config } from "../config.ts";
import type { Metrics } from "../core/metrics.ts";
import type { Route } from "../core/route.ts";

/** What vendors call. Without an address that they can reach there is none of it. */
export async function vendorRoutes(
  { channels, http }: Config,
  metrics: Metrics,
  deps: Omit<WebhookDeps, "publicUrl">,
): Promise<Route[]> {
  const { publicUrl } = http;
  if (publicUrl === undefined) return [];
  const available = new Map(channels.flatMap((each) => each.available).map((each) => [each.definition, each]));
  const routes = [...available.values()].map(async ({ definition, env }) =>
    counted((await definition.webhooks?.(env, { ...deps, publicUrl })) ?? [], (result) =>
      metrics.webhookEnded({ provider: definition.name, result }),
    ),
  );
  return (await Promise.all(routes)).flat();
}
