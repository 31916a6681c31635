import type { ProviderDefinition } from "../../../provider-definition.ts";
import { env, NAME } from "./environment.ts";
import { encryptionKeyFaults } from "../../../../core/sealed.ts";

/** WhatsApp as a linked device of the account's own phone, through Baileys. */
export const baileysProvider: ProviderDefinition<typeof env> = {
  name: NAME,
  env,
  configured({ WHATSAPP_ENCRYPTION_KEY: key, WHATSAPP_MIN_GAP_MS: min, WHATSAPP_MAX_GAP_MS: max }) {
    if (key === undefined) return "absent";
    const faults = encryptionKeyFaults(key).map((detail) => ({ pointer: "WHATSAPP_ENCRYPTION_KEY", detail }));
    if (min > max) faults.push({ pointer: "WHATSAPP_MAX_GAP_MS", detail: "is smaller than WHATSAPP_MIN_GAP_MS" });
    return faults.length > 0 ? faults : "present";
  },
  async create(values, deps) {
    // Only now: who sends nothing over WhatsApp does not have to load Baileys.
    const { BaileysCarrier } = await import("./carrier.ts");
    return new BaileysCarrier(values, deps);
  },
};
