import { DelayedError, type Job } from "bullmq";
import type { Provider } from "../channels/provider.ts";
import { chargeJobSchema, type ChargeJob } from "../channels/inbound-job.ts";
import type { Clock } from "../core/clock.ts";
import type { InboundEvent } from "../core/inbound.ts";
import type { Store } from "../store/store.ts";

export interface ChargesDeps {
  store: Pick<Store, "takeReceipt">;
  clock: Clock;
  /** One that is not there any more cannot be asked. */
  providerNamed(name: string): Provider | undefined;
  /** Has a message's charge asked for later. Rejects with `UnavailableError`. */
  addCharge(job: ChargeJob): Promise<void>;
  /** Jobs of the queue that this process works at once. */
  concurrency: number;
}

/** What messages were charged, where a provider's reports do not say so. */
export interface Charges {
  /** Of what a vendor reports, has the charge of each message that has come to its end asked for later. */
  plan(events: readonly InboundEvent[]): Promise<void>;
  /** Asks; rejects, to be tried again later, as long as it is not known. */
  ask(job: Job<unknown>, token: string | undefined): Promise<void>;
}

/** Questions under way at once in this process, and of the queue's places at most: reports and stops go first. */
const MAX_UNDER_WAY = 10;
const SHARE = 0.25;
/** Before the first look for a place among them, milliseconds; longer each time, and not for all the same. */
const NO_PLACE_MS = 30_000;
const MAX_MISSES = 40;

export function createCharges({ store, clock, providerNamed, addCharge, concurrency }: ChargesDeps): Charges {
  const most = Math.min(MAX_UNDER_WAY, Math.ceil(concurrency * SHARE));
  let underWay = 0;

  return {
    async plan(events) {
      for (const event of events) {
        if (event.kind !== "receipt" || event.price || !/^(delivered|failed)$/.test(event.status)) continue;
        const { provider, providerMessageId } = event;
        if (providerNamed(provider)?.chargeOf) await addCharge({ provider, providerMessageId });
      }
    },
    async ask(job, token) {
      const { provider, providerMessageId } = chargeJobSchema.parse(job.data);
      if (underWay >= most) {
        await job.moveToDelayed(
          Date.now() + NO_PLACE_MS * Math.min(MAX_MISSES, job.attemptsStarted) * (1 + Math.random()),
          token,
        );
        throw new DelayedError();
      }
      underWay += 1;
      try {
        const asked = providerNamed(provider);
        if (!asked?.chargeOf) return;
        const charge = await asked.chargeOf(providerMessageId);
        if (!charge) throw new Error("The charge is not known yet.");
        await store.takeReceipt({ provider, providerMessageId, status: "sent", at: clock.now(), ...charge });
      } finally {
        underWay -= 1;
      }
    },
  };
}
