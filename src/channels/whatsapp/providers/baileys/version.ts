import { fetchLatestWaWebVersion, type WAVersion } from "@whiskeysockets/baileys";
import type { Logger } from "pino";

/** The WhatsApp Web version in the environment's words; undefined: the one that Baileys was made for. */
export function versionOf(text: string | undefined): WAVersion | undefined {
  return text === undefined ? undefined : (text.split(".").map(Number) as unknown as WAVersion);
}

/** The one that WhatsApp serves now; undefined when it cannot be found out. */
export async function latestVersion(log: Logger): Promise<WAVersion | undefined> {
  const { version, error } = await fetchLatestWaWebVersion();
  if (!error) return version;
  log.warn({ err: error }, "the current WhatsApp version could not be found out");
  return undefined;
}
