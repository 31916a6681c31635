import { DatabaseError, type Database } from "./database.ts";
import type { EndpointStore, WebhookEndpoint } from "./events.ts";
import { utc } from "./times.ts";

const ENDPOINT_COLUMNS =
  "id, account_id, url, description, events, enabled, disabled_because, old_secret_until, last_delivered_at, failures, created_at";
/** Endpoints in one answer; an account has a handful. */
const MAX_ENDPOINTS = 1000;
/** As much as is known of an endpoint that nothing was delivered to yet. */
const AS_NEW = { failures: 0, failing_since: null, at_once: 2, silent: false };
const UNIQUE_VIOLATION = "23505";
const NO_SUCH_ROW = "23503";
/** Of the database itself: see cap_endpoints. */
const TOO_MANY_ENDPOINTS = "AP002";

/**
 * Webhook endpoints on Supabase. `othersEnded` resolves when what began before has ended: whatever commits after that is told
 * to whoever has just begun to listen.
 */
export function createEndpoints(database: Database, othersEnded: () => Promise<void>): EndpointStore {
  const rpc = database.rpc.bind(database);
  const endpoints = () => database.client.from("webhook_endpoints");

  const refused = (error: unknown): "exists" | "unknown_account" | "too_many" => {
    if (error instanceof DatabaseError && error.code === UNIQUE_VIOLATION) return "exists";
    if (error instanceof DatabaseError && error.code === NO_SUCH_ROW) return "unknown_account";
    if (error instanceof DatabaseError && error.code === TOO_MANY_ENDPOINTS) return "too_many";
    throw error;
  };
  const changed = async (id: string, changes: object): Promise<WebhookEndpoint | undefined> => {
    const query = endpoints().update(changes).eq("id", id).select(ENDPOINT_COLUMNS).maybeSingle<EndpointRow>();
    const row = await database.run("webhook_endpoints", query);
    return row ? toEndpoint(row) : undefined;
  };
  const endpoint: EndpointStore["endpoint"] = async (id) => {
    const query = endpoints().select(ENDPOINT_COLUMNS).eq("id", id).maybeSingle<EndpointRow>();
    const row = await database.run("webhook_endpoints", query);
    return row ? toEndpoint(row) : undefined;
  };

  return {
    async createEndpoint({ accountId, ...rest }) {
      const row = { account_id: accountId, ...rest };
      const query = endpoints().insert(row).select(ENDPOINT_COLUMNS).single<EndpointRow>();
      const made = await database.run("webhook_endpoints", query).then(toEndpoint, refused);
      if (typeof made === "object") await othersEnded();
      return made;
    },
    async endpoints(accountId) {
      let query = endpoints().select(ENDPOINT_COLUMNS).order("created_at").order("id").limit(MAX_ENDPOINTS);
      if (accountId !== undefined) query = query.eq("account_id", accountId);
      const rows = await database.run("webhook_endpoints", query.overrideTypes<EndpointRow[], { merge: false }>());
      return (rows ?? []).map(toEndpoint);
    },
    endpoint,
    async changeEndpoint(id, changes) {
      const row = {
        ...changes,
        ...(changes.enabled === undefined ? {} : { disabled_because: null }),
        // Nothing is known of how it does elsewhere, or after it was mended.
        ...(changes.enabled === true || changes.url !== undefined ? AS_NEW : {}),
      };
      // PostgREST takes no change of nothing.
      if (Object.keys(row).length === 0) return endpoint(id);
      const now = await changed(id, row).catch((error: unknown) => {
        if (refused(error) === "exists") return "exists" as const;
        throw error;
      });
      if (changes.enabled === true) await othersEnded();
      return now;
    },
    async rotateSecret(id, secret, overlapSeconds) {
      const row = await rpc<EndpointRow | null>("rotate_endpoint_secret", {
        p_id: id,
        p_secret: secret,
        p_overlap_seconds: overlapSeconds,
      });
      return row ? toEndpoint(row) : undefined;
    },
    async sealedOtherwise(mark) {
      const query = endpoints().select("id, secret").not("secret", "like", `${mark}%`).order("id").limit(MAX_ENDPOINTS);
      const rows = await database.run("webhook_endpoints", query.overrideTypes<SecretRow[], { merge: false }>());
      return (rows ?? []).map(({ id, secret }) => ({ endpointId: id, secret }));
    },
    reseal: (id, from, to) => rpc("reseal_endpoint_secret", { p_id: id, p_from: from, p_to: to }),
    async deleteEndpoint(id) {
      const rows = await database.run<unknown[]>("webhook_endpoints", endpoints().delete().eq("id", id).select("id"));
      return rows.length > 0;
    },
    testEndpoint: (id, idempotency) => rpc("try_endpoint", { p_id: id, p_idempotency: idempotency ?? null }),
  };
}

interface EndpointRow {
  id: string;
  account_id: string;
  url: string;
  description: string | null;
  events: string[] | null;
  enabled: boolean;
  disabled_because: string | null;
  old_secret_until: string | null;
  last_delivered_at: string | null;
  failures: number;
  created_at: string;
}

interface SecretRow {
  id: string;
  secret: string;
}

const toEndpoint = (row: EndpointRow): WebhookEndpoint => ({
  id: row.id,
  accountId: row.account_id,
  url: row.url,
  description: row.description,
  events: row.events,
  enabled: row.enabled,
  disabledBecause: row.disabled_because,
  oldSecretUntil:
    row.old_secret_until !== null && Date.parse(row.old_secret_until) > Date.now() ? utc(row.old_secret_until) : null,
  lastDeliveredAt: row.last_delivered_at === null ? null : utc(row.last_delivered_at),
  failures: row.failures,
  createdAt: utc(row.created_at),
});
