/** src/index.ts, with a network of its own: recordings on loopback, a Twilio for calls beside the one for SMS. */
import { flushCompileCache } from "node:module";
import type { ProviderDefinition } from "../../src/channels/provider-definition.ts";
import { readConfig } from "../../src/config.ts";
import { runService } from "../../src/main.ts";
import { CHANNELS } from "../../src/modules.ts";
import { LOOPBACK } from "../../test/fakes/twilio-voice/file-server.ts";
import type { VendorName } from "./vendors/index.ts";

/** Vendors take up to half a minute until they know their messages; asking too early is the harder case. */
const RECONCILE_AFTER_MS = 500;
/** With what looking at a recording may take they are given half a minute. */
const LONGEST_SEND_MS = Number(process.env["CHAOS_LONGEST_SEND_MS"]);

/** By provider: the variables that the harness has another value for. */
const OWN: Record<VendorName, object> = {
  twilio: {},
  vonage: {},
  "twilio-voice": { TWILIO_API_BASE_URL: process.env["CHAOS_TWILIO_VOICE_URL"] },
  voicepartner: {},
};

function hurried(definition: ProviderDefinition): ProviderDefinition {
  const own = OWN[definition.name as VendorName];
  return {
    ...definition,
    async create(values, deps) {
      const provider = await definition.create({ ...values, ...own }, deps);
      const timeoutMs = Math.min(provider.timeoutMs, LONGEST_SEND_MS);
      return Object.assign(provider, { timeoutMs, reconcileAfterMs: RECONCILE_AFTER_MS });
    },
  };
}

const channels = CHANNELS.map((channel) =>
  ["sms", "voice"].includes(channel.queue) ? { ...channel, providers: channel.providers.map(hurried) } : channel,
);
await runService(process, readConfig(process.env, channels), { version: "chaos", fetchPolicy: LOOPBACK });
// Node writes it when a process ends by itself: none of those that are killed would leave any to the next.
flushCompileCache();
