import type { Telemetry } from "bullmq";
import type { Redis } from "ioredis";
import type { Logger } from "pino";
import type { Channel } from "../channels/channel.ts";
import type { Config } from "../config.ts";
import type { FetchPolicy } from "../core/addresses.ts";
import type { Clock } from "../core/clock.ts";
import type { Metrics } from "../core/metrics.ts";
import type { Rules, StopNoticeOf } from "../core/rules.ts";
import type { Tracing } from "../core/tracing.ts";
import type { Live } from "../events/live.ts";
import type { Secrets } from "../events/secrets.ts";
import type { PlanChannels } from "../hunt/plan.ts";
import type { Queues } from "../queues/index.ts";
import type { Throttle } from "../queues/throttle.ts";
import type { Store } from "../store/store.ts";
import type { Afterwards } from "../workers/afterwards.ts";
import type { KeepDeps } from "../workers/inbound.ts";
import type { Channels } from "./channels.ts";

/** What the service has one of. Its work and its routes are made of it. */
export interface Parts {
  config: Config;
  version: string;
  clock: Clock;
  logOf(room: string): Logger;
  /** Where webhooks may go. */
  webhookPolicy: FetchPolicy | undefined;
  tracing: Tracing<Telemetry>;
  metrics: Metrics;
  store: Store;
  /** For short commands. */
  redis: Redis;
  /** For the workers, who wait in it. */
  workerRedis: Redis;
  pingRedis(): Promise<unknown>;
  queues: Queues;
  throttle: Throttle;
  channels: Channels;
  /** All that there are, on or off. */
  definitions: ReadonlyMap<string, Channel>;
  planChannels: PlanChannels;
  /** What takes receipts and replies. */
  taking: KeepDeps;
  afterwards: Afterwards;
  rules: Rules;
  stopNoticeOf: StopNoticeOf;
  secrets: Secrets;
  live: Live;
  isStopping(): boolean;
}
