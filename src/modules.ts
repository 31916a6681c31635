import type { Channel } from "./channels/channel.ts";
import { smsChannel } from "./channels/sms/sms.channel.ts";
import { voiceChannel } from "./channels/voice/voice.channel.ts";
import { whatsappChannels } from "./channels/whatsapp/whatsapp.channel.ts";
import { INBOUND_QUEUE } from "./channels/inbound-job.ts";
import { WEBHOOKS_QUEUE } from "./events/events.jobs.ts";
import { HUNT_QUEUE } from "./hunt/hunt.jobs.ts";

/** Every way to reach a person: routes, queues, workers, hunts, configuration and documents iterate this list. */
export const CHANNELS: readonly Channel[] = [...whatsappChannels, smsChannel, voiceChannel];

/** Every queue. `scraping` has no worker yet: the lead audit will serve it. */
export const QUEUE_NAMES: readonly string[] = [
  HUNT_QUEUE,
  ...new Set(CHANNELS.map(({ queue }) => queue)),
  INBOUND_QUEUE,
  WEBHOOKS_QUEUE,
  "scraping",
];
