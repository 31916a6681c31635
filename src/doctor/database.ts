import { messageOf } from "../core/errors.ts";
import { clockFinding, fault, ok, warning, type Finding } from "./finding.ts";

export interface DatabaseToCheck {
  url: string;
  serviceKey: string;
  timeoutMs: number;
  /** Of the migrations that this code was made with, sorted; empty when they are not here. */
  expected: readonly string[];
}

interface SchemaState {
  versions: string[] | null;
  now: number;
  server: string;
}

const APPLY = "Apply supabase/migrations with `supabase db push`, before the new version of the service starts.";
const CHECK = "database";
/** Up to this version the files were once arranged anew. A database from before has recorded others too, which are no fault. */
const ARRANGED = "20261122000120";
const BRING_UP =
  "Bring the database up to date with the release before this one: docs/operations.md says so under Upgrades.";

/** Reachability, rights, migrations and clocks. Never rejects. */
export async function checkDatabase({ url, serviceKey, timeoutMs, expected }: DatabaseToCheck): Promise<Finding[]> {
  const before = Date.now();
  let response: Response;
  let body: unknown;
  try {
    response = await fetch(`${url.replace(/\/+$/, "")}/rest/v1/rpc/schema_state`, {
      method: "POST",
      headers: { apikey: serviceKey, authorization: `Bearer ${serviceKey}`, "content-type": "application/json" },
      body: "{}",
      signal: AbortSignal.timeout(timeoutMs),
      redirect: "error",
    });
    body = await response.json().catch(() => undefined);
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    const why = messageOf(cause).replaceAll(serviceKey, "[key]");
    return [fault(CHECK, `cannot be reached: ${why}`, "Compare SUPABASE_URL with the project's address.")];
  }
  const after = Date.now();
  if (!response.ok) return [refused(response.status, body)];
  const state = body as SchemaState;
  const date = Date.parse(response.headers.get("date") ?? "");
  const middle = (before + after) / 2;
  const uncertain = (after - before) / 2;
  return [
    ok(CHECK, `Postgres ${state.server} answers`),
    migrationFinding(state.versions, expected),
    clockFinding("Postgres", state.now - middle, uncertain),
    // In whole seconds, cut off.
    ...(Number.isNaN(date) ? [] : [clockFinding("the web", date + 500 - middle, uncertain + 500)]),
  ];
}

function refused(status: number, body: unknown): Finding {
  const given = (body as { code?: unknown } | undefined)?.code;
  const code = typeof given === "string" ? given : "";
  if (status === 401 || status === 403 || code === "42501") {
    return fault(
      CHECK,
      "refuses the key",
      "Set SUPABASE_SERVICE_KEY to the service role's key, not the anonymous one.",
    );
  }
  if (code === "PGRST202") return fault("database schema", "is older than this service, or there is none", APPLY);
  return fault(CHECK, `answers with status ${status}${code && ` (${code})`}`, "See the project's own log.");
}

function migrationFinding(versions: string[] | null, expected: readonly string[]): Finding {
  const check = "database schema";
  const [first] = expected;
  if (first === undefined) {
    return warning(
      check,
      "cannot be compared: supabase/migrations is not beside the service",
      "Run this in a checkout.",
    );
  }
  if (versions === null) {
    const says = "has no record of its migrations: they were not applied by the Supabase CLI";
    return warning(check, says, "Compare by hand, and use `supabase db push` from now on.");
  }
  const missing = expected.filter((version) => !versions.includes(version));
  if (missing.length > 0) {
    const halfway = missing.some((version) => version <= ARRANGED) && versions.some((version) => version < first);
    return fault(check, `lacks migrations: ${missing.join(", ")}`, halfway ? BRING_UP : APPLY);
  }
  const newer = versions.filter((version) => version > (expected.at(-1) ?? ""));
  if (newer.length === 0) return ok(check, `has all ${expected.length} migrations`);
  return warning(
    check,
    `has newer migrations: ${newer.join(", ")}`,
    "Bring the service up to the version that they came with.",
  );
}
