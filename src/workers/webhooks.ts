import { UnrecoverableError, type Job } from "bullmq";
import type { Metrics } from "../core/metrics.ts";
import { deliver, type DeliverDeps } from "../events/deliver.ts";
import { deliveryJobSchema } from "../events/events.jobs.ts";
import type { EventStore } from "../store/events.ts";
import type { Logger } from "pino";

export interface WebhooksWorkerDeps extends DeliverDeps {
  events: Pick<EventStore, "begin" | "record">;
  metrics: Pick<Metrics, "deliveryEnded" | "endpointTurnedOff">;
  /** There is room for another one, and one that has waited for this may go. */
  wake(): void;
  log: Logger;
}

/** Between an endpoint's time-out and the moment from which on another worker may try, milliseconds. */
const SLACK_MS = 2000;

/** The job of the queue `webhooks`: one attempt. Whether there is another one, and when, the ledger says. */
export async function runWebhookJob(job: Job<unknown>, deps: WebhooksWorkerDeps): Promise<void> {
  const parsed = deliveryJobSchema.safeParse(job.data);
  if (!parsed.success) throw new UnrecoverableError("The job's payload is not valid.");
  const delivery = await deps.events.begin(parsed.data.deliveryId, deps.timeoutMs + SLACK_MS);
  if (!delivery) return;
  const outcome = await deliver(delivery, deps);
  const { delivered, gone, retryInMs, entry } = outcome;
  const result = delivered ? "delivered" : gone ? "gone" : retryInMs === undefined ? "given_up" : "failed";
  deps.metrics.deliveryEnded({ result }, entry.durationMs / 1000);
  const { endpointId } = delivery;
  const line = { endpointId, deliveryId: delivery.id, status: entry.status, durationMs: entry.durationMs };
  deps.log.debug(line, delivered ? "webhook delivered" : "webhook failed");
  const { turnedOff } = await deps.events.record(outcome);
  if (turnedOff !== undefined) {
    deps.metrics.endpointTurnedOff({ reason: turnedOff });
    deps.log.warn({ ...line, reason: turnedOff }, "a webhook endpoint was turned off");
  }
  deps.wake();
}
