import { createHmac, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { codeOf } from "./stack-error.ts";

/** 2100-01-01, in seconds: a fixed date makes the same key at each start, so an env file stays valid. */
const EXPIRES_AT_S = 4_102_444_800;

/** The stack's secrets; URL-safe text. */
export interface Secrets {
  readonly jwtSecret: string;
  /** Of the superuser `postgres` and of `authenticator`, which PostgREST connects as. */
  readonly databasePassword: string;
  /** What people who were erased are recognised under; with another one they would be contacted again. */
  readonly suppressionSalt: string;
}

/** A Supabase API key: an HS256 JWT that PostgREST turns into the role `service_role` or `anon`. Valid until 2100. */
export function apiKey(role: "service_role" | "anon", jwtSecret: string): string {
  const claims = { iss: "auto-prospect-dev", role, exp: EXPIRES_AT_S };
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${signed}.${createHmac("sha256", jwtSecret).update(signed).digest("base64url")}`;
}

/** The secrets kept in `<dataDir>/secrets.json` (mode 0600); those that it does not have are made, and kept from then on. */
export function loadSecrets(dataDir: string): Secrets {
  const file = join(dataDir, "secrets.json");
  const kept = keptIn(file);
  const made = { jwtSecret: randomText(32), databasePassword: randomText(18), suppressionSalt: randomText(32) };
  const secrets = { ...made, ...kept };
  if (Object.keys(secrets).length > Object.keys(kept).length) {
    writeFileSync(file, `${JSON.stringify(secrets)}\n`, { mode: 0o600 });
  }
  return secrets;
}

/** A data directory of before a secret does not have it. */
function keptIn(file: string): Partial<Secrets> {
  try {
    const kept: Partial<Secrets> = JSON.parse(readFileSync(file, "utf8"));
    return kept;
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
    return {};
  }
}

function randomText(bytes: number): string {
  return randomBytes(bytes).toString("base64url");
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
