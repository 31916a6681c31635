import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { Clock } from "../core/clock.ts";

export const SESSION_COOKIE = "auto_prospect_admin";
const SESSION_SECONDS = 12 * 60 * 60;

export interface Sessions {
  /** A token good for `SESSION_SECONDS`, bound to the secret (by its place in the list) that was used to log in. */
  issue(secretIndex: number): string;
  isValid(token: string): boolean;
}

/**
 * Sessions without a store: `expiry.id.mac`. The key of the mac comes from the API secret, so that a secret which is
 * rotated out takes its sessions along, and every instance of the service accepts what another one issued.
 */
export function createSessions(apiSecrets: readonly string[], clock: Clock): Sessions {
  const keys = apiSecrets.map((secret) =>
    createHmac("sha256", secret).update("auto-prospect admin session, v1").digest(),
  );
  return {
    issue(secretIndex) {
      const expiresAt = Math.floor(clock.now() / 1_000) + SESSION_SECONDS;
      const signed = `${expiresAt.toString(36)}.${randomBytes(16).toString("base64url")}`;
      return `${signed}.${sign(keys[secretIndex]!, signed).toString("base64url")}`;
    },
    isValid(token) {
      const [, signed, expiry, mac] = /^(([0-9a-z]{1,11})\.[\w-]{22})\.([\w-]{43})$/.exec(token) ?? [];
      if (signed === undefined || expiry === undefined || mac === undefined) return false;
      const given = Buffer.from(mac, "base64url");
      let known = false;
      for (const key of keys) known = timingSafeEqual(given, sign(key, signed)) || known;
      return known && Number.parseInt(expiry, 36) * 1_000 > clock.now();
    },
  };
}

function sign(key: Buffer, signed: string): Buffer {
  return createHmac("sha256", key).update(signed).digest();
}

/** The value of a cookie in a `Cookie` header. */
export function cookieOf(header: string | undefined, name: string): string | undefined {
  for (const pair of (header ?? "").split(";")) {
    const separator = pair.indexOf("=");
    if (separator > 0 && pair.slice(0, separator).trim() === name) return pair.slice(separator + 1).trim();
  }
  return undefined;
}

/** `Set-Cookie` for a session, or, without a token, for its end. */
export function sessionCookie(token: string | undefined, isHttps: boolean): string {
  const attributes = `Path=/admin; HttpOnly; SameSite=Strict; Max-Age=${token === undefined ? 0 : SESSION_SECONDS}`;
  return `${SESSION_COOKIE}=${token ?? ""}; ${attributes}${isHttps ? "; Secure" : ""}`;
}
