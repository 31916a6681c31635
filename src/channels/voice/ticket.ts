import { createHmac, timingSafeEqual } from "node:crypto";
import type { Clock } from "../../core/clock.ts";

/** Which attempt a vendor's request to us is about. Ids and a digest only: addresses end up in vendors' logs. */
export interface Ticket {
  messageId: string;
  attemptId: string;
  /** Of the content. */
  digest: string;
}

export interface Tickets {
  /** Fit for a path. */
  issue(ticket: Ticket): string;
  /** `issuedAt`: milliseconds since the epoch. Undefined for one that is not ours, was changed, or has expired. */
  read(token: string): (Ticket & { issuedAt: number }) | undefined;
}

interface TicketOptions {
  /** What only the vendor and we know; the key is derived from it. */
  secret: string;
  /** What the tickets are for: those of one purpose are worth nothing for another. */
  purpose: string;
  clock: Clock;
  validMs: number;
}

/** Signs what goes out in a vendor's callback address, and checks what comes back (HMAC-SHA256). */
export function createTickets({ secret, purpose, clock, validMs }: TicketOptions): Tickets {
  const key = createHmac("sha256", secret).update(`auto-prospect ${purpose}`).digest();
  const macOf = (payload: string): Buffer => createHmac("sha256", key).update(payload).digest().subarray(0, 16);
  return {
    issue({ messageId, attemptId, digest }) {
      const expiresAt = clock.now() + validMs;
      const payload = Buffer.from(JSON.stringify([messageId, attemptId, digest, expiresAt])).toString("base64url");
      return `${payload}.${macOf(payload).toString("base64url")}`;
    },
    read(token) {
      const [payload = "", mac = "", rest] = token.split(".");
      const given = Buffer.from(mac, "base64url");
      const expected = macOf(payload);
      if (rest !== undefined || given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
      const [messageId, attemptId, digest, expiresAt] = JSON.parse(
        Buffer.from(payload, "base64url").toString("utf8"),
      ) as [string, string, string, number];
      if (expiresAt <= clock.now()) return undefined;
      return { messageId, attemptId, digest, issuedAt: expiresAt - validMs };
    },
  };
}
