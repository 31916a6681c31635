import type { ProviderDefinition } from "../provider-definition.ts";
import { sandboxProvider } from "../sandbox.ts";
import { baileysProvider } from "./providers/baileys/baileys.provider.ts";

/** Who carries WhatsApp. All its channels share this very list, and so one provider each carries them all. */
const providers: readonly ProviderDefinition[] = [baileysProvider, sandboxProvider("whatsapp")];

/** What all channels of WhatsApp have in common. */
export const WHATSAPP = { queue: "whatsapp", providerVariable: "WHATSAPP_PROVIDER", providers } as const;
