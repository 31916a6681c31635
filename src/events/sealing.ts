import type { Logger } from "pino";
import { SealError } from "../core/sealed.ts";
import type { EventStore } from "../store/events.ts";
import type { Secrets } from "./secrets.ts";

/** Told of an endpoint one of whose secrets cannot be opened. */
export type CannotOpen = (endpointId: string, error: SealError) => void;

/** An operator hears of each endpoint once. */
export function createCannotOpen(log: Logger): CannotOpen {
  const told = new Set<string>();
  return (endpointId, error) => {
    if (told.has(endpointId)) return;
    told.add(endpointId);
    const words = "a webhook endpoint's secret cannot be opened: nothing is signed with it";
    log.error({ endpointId, code: error.code, reason: error.message }, words);
  };
}

export interface SealingDeps {
  events: Pick<EventStore, "sealedOtherwise" | "reseal">;
  secrets: Secrets;
  cannotOpen: CannotOpen;
}

/**
 * Seals with the first key what another one has sealed, or none, so that older ones may be taken away. Those that still sign
 * after a rotation are left as they are: they end by themselves. Rejects with `UnavailableError`.
 */
export async function sealAnew({ events, secrets, cannotOpen }: SealingDeps): Promise<void> {
  if (secrets.mark === undefined) return;
  for (const { endpointId, secret } of await events.sealedOtherwise(secrets.mark)) {
    try {
      await events.reseal(endpointId, secret, secrets.seal(secrets.open(secret)));
    } catch (error) {
      if (!(error instanceof SealError)) throw error;
      cannotOpen(endpointId, error);
    }
  }
}
