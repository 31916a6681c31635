import { z } from "zod";
import { timestamp } from "../../core/text.ts";
import { SESSION_STATES, type Session } from "../../store/sessions.ts";
import { settingsSchema } from "./providers/baileys/settings.ts";

/** An owner that is gone is noticed when its lease runs out; until it is replaced nobody is connected. */
const NEEDS_AN_OWNER = new Set(["open", "backing-off"]);

/** A session as the API shows it. */
export const sessionSchema = z.object({
  id: z.uuid(),
  accountId: z.string(),
  phone: z.string().describe("E.164"),
  method: z.enum(["qr", "code"]),
  state: z
    .enum(SESSION_STATES)
    .describe(
      "`pairing`: waits for the phone. `connecting`, `open`, `backing-off`: works, or will by itself. `logged-out`, `banned`, " +
        "`stopped`: a person has to look (see `lastError`) and pair it again; its messages wait",
    ),
  since: z.string().describe("When it came into this state"),
  qr: z
    .string()
    .optional()
    .describe("While pairing: the text of the QR code, also at `…/qr.png`. It changes every 20 to 60 s"),
  pairingCode: z.string().optional().describe("While pairing with `method: code`: what to type in on the phone"),
  lastError: z.string().optional().describe("The last thing that went wrong, in words"),
  pairedAt: timestamp().nullable(),
  coldPausedUntil: timestamp().nullable().describe("WhatsApp has restricted it: no first contacts before then"),
  settings: settingsSchema.describe("Its own values for the pace; the rest is as the environment says"),
  pace: z.record(z.string(), z.unknown()).describe("What its pace is now, as last reported"),
  createdAt: timestamp(),
});

export const SESSION_EXAMPLE = {
  id: "4f8b1c9e-7d0a-4b7e-9c53-0a1f6d2e8b11",
  accountId: "acc_456",
  phone: "+33612345678",
  method: "qr",
  state: "open",
  since: "2026-11-22T09:00:00.000Z",
  pairedAt: "2026-11-22T09:00:00.000Z",
  coldPausedUntil: null,
  settings: {},
  pace: {},
  createdAt: "2026-11-22T08:59:30.000Z",
};

/** `now` in milliseconds since the epoch. */
export function sessionView(session: Session, now: number): z.input<typeof sessionSchema> {
  const { id, accountId, phone, method, since, qr, pairingCode, lastError, pairedAt, coldPausedUntil } = session;
  const isOwned = session.leasedUntil !== null && Date.parse(session.leasedUntil) > now;
  return {
    id,
    accountId,
    phone,
    method,
    state: NEEDS_AN_OWNER.has(session.state) && !isOwned ? "connecting" : session.state,
    since,
    ...(qr === null ? {} : { qr }),
    ...(pairingCode === null ? {} : { pairingCode }),
    ...(lastError === null ? {} : { lastError }),
    pairedAt,
    coldPausedUntil,
    settings: session.settings,
    pace: session.pace,
    createdAt: session.createdAt,
  };
}
