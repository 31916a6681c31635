import { createHash } from "node:crypto";
import type { LaneDirectory, LaneKey } from "../../../lanes.ts";
import { senderOf } from "../../../../core/phone.ts";
import type { Session, SessionStore } from "../../../../store/sessions.ts";

/** The queue of a session's messages. */
export const laneOfSession = (sessionId: string): string => `whatsapp.${sessionId}`;

/** How long an account's sessions are believed to be as they were, milliseconds. */
export const FRESH_MS = 1000;
/** And how long that a sender is not among them: a message fails for it, and somebody may just have paired one. */
const ABSENT_MS = 100;
const NEEDS_A_PERSON = new Set(["logged-out", "banned", "stopped"]);

interface Known {
  at: number;
  sessions: Promise<Session[]>;
}

/** Which session carries a message: the one that is named, else one of the account's, for a person always the same. */
export class SessionLanes implements LaneDirectory {
  readonly #store: SessionStore;
  readonly #now: () => number;
  readonly #known = new Map<string, Known>();

  constructor(store: SessionStore, now: () => number) {
    this.#store = store;
    this.#now = now;
  }

  async laneOf({ accountId, sender, recipient }: LaneKey, current: string | undefined): Promise<string | undefined> {
    if (accountId === undefined) return undefined;
    const all = await this.#sessionsOf(accountId);
    const candidates = sender === undefined ? all : all.filter(({ phone }) => phone === e164(sender));
    const working = candidates.filter(({ state }) => !NEEDS_A_PERSON.has(state));
    // All of them need a person: messages wait for whichever is paired again.
    const usable = working.length > 0 ? working : candidates;
    if (usable.length === 0) return undefined;
    if (current !== undefined && usable.some(({ id }) => laneOfSession(id) === current)) return current;
    const place = createHash("sha256").update(recipient).digest().readUInt32BE() % usable.length;
    return laneOfSession((usable[place] as Session).id);
  }

  async senderFault({ accountId, sender }: Pick<LaneKey, "accountId" | "sender">) {
    if (accountId === undefined) {
      return {
        pointer: "/accountId",
        detail: "WhatsApp messages leave from an account's own number: name the account.",
      };
    }
    const isThere = ({ phone }: Session): boolean => sender === undefined || phone === e164(sender);
    if ((await this.#sessionsOf(accountId)).some(isThere)) return undefined;
    const sessions = await this.#sessionsOf(accountId, ABSENT_MS);
    if (sessions.some(isThere)) return undefined;
    const how = "Pair one with POST /api/whatsapp/sessions.";
    if (sessions.length === 0) {
      return { pointer: "/accountId", detail: `This account has no WhatsApp number. ${how}` };
    }
    return { pointer: "/senderPhone", detail: `This account has no such WhatsApp number. ${how}` };
  }

  async all(): Promise<string[]> {
    return (await this.#sessionsOf(undefined)).map(({ id }) => laneOfSession(id));
  }

  /** Asked for each message of a hunt: from memory for a moment. */
  #sessionsOf(accountId: string | undefined, freshMs = FRESH_MS): Promise<Session[]> {
    const key = accountId ?? "";
    const now = this.#now();
    const known = this.#known.get(key);
    if (known && now - known.at < freshMs) return known.sessions;
    for (const [other, { at }] of this.#known) if (now - at >= FRESH_MS) this.#known.delete(other);
    const sessions = this.#store.sessions({ accountId }).then((rows) => rows.filter(({ wanted }) => wanted === "on"));
    this.#known.set(key, { at: now, sessions });
    sessions.catch(() => this.#known.delete(key));
    return sessions;
  }
}

/** What was planned before senders had one spelling, as people write them; in doubt as a French number, as everywhere. */
const e164 = (sender: string): string => senderOf(sender, "FR");
