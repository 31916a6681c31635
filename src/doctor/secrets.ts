import { messageOf } from "../core/errors.ts";
import { SealError } from "../core/sealed.ts";
import { createSecrets } from "../events/secrets.ts";
import { fault, ok, warning, type Finding } from "./finding.ts";

export interface SecretsToCheck {
  url: string;
  serviceKey: string;
  timeoutMs: number;
  /** What may have sealed the secrets of webhook endpoints; the first seals now. */
  keys: readonly string[];
}

interface Row {
  secret: string;
  old_secrets: { secret: string; until: string }[];
}

const CHECK = "webhook secrets";
/** Endpoints in one answer. */
const MOST = 1000;

/** Whether what endpoints' secrets are sealed with is configured, and which keys are still needed. Never rejects. */
export async function checkSecrets({ url, serviceKey, timeoutMs, keys }: SecretsToCheck): Promise<Finding[]> {
  let rows: Row[];
  try {
    const place = `${url.replace(/\/+$/, "")}/rest/v1/webhook_endpoints?select=secret,old_secrets&order=id&limit=${MOST}`;
    const response = await fetch(place, {
      headers: { apikey: serviceKey, authorization: `Bearer ${serviceKey}` },
      signal: AbortSignal.timeout(timeoutMs),
      redirect: "error",
    });
    // Of a database that does not answer as it should another check tells.
    if (!response.ok) return [];
    rows = (await response.json()) as Row[];
  } catch (error) {
    const why = messageOf(error).replaceAll(serviceKey, "[key]");
    return [warning(CHECK, `could not be read: ${why}`, "See what is said of the database.")];
  }
  if (rows.length === 0) return [];
  const secrets = createSecrets(keys);
  const opens = (stored: string): boolean => {
    try {
      return secrets.open(stored) !== "";
    } catch (error) {
      if (error instanceof SealError) return false;
      throw error;
    }
  };
  const isCurrent = (stored: string): boolean => secrets.mark === undefined || stored.startsWith(secrets.mark);
  const all = (row: Row): string[] => [
    row.secret,
    ...row.old_secrets.flatMap(({ secret, until }) => (Date.parse(until) > Date.now() ? [secret] : [])),
  ];
  const closed = rows.filter(({ secret }) => !opens(secret)).length;
  const older = rows.filter((row) => !all(row).every((stored) => isCurrent(stored))).length - closed;
  return [
    closed > 0
      ? fault(
          CHECK,
          `of ${closed} endpoints are sealed with a key that is not configured any more: nothing can be delivered to them`,
          "Put that key behind the others in WEBHOOK_ENCRYPTION_KEY, after a comma; or give those endpoints new secrets (POST /api/webhook-endpoints/{id}/rotate).",
        )
      : ok(CHECK, `of ${rows.length} endpoints can be opened`),
    ...(older > 0
      ? [
          warning(
            CHECK,
            `of ${older} endpoints are not sealed with the first key, but with an older one, or not at all`,
            "Keep the older keys. A service that runs seals them anew within two minutes, and what was rotated ends by itself.",
          ),
        ]
      : []),
  ];
}
