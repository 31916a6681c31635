import type { MessageStatus } from "./messages.ts";

export type Acceptance<Response> =
  | { result: "accepted" | "replay"; response: Response }
  | {
      result:
        | "conflict"
        | "unknown_account"
        | "suspended_account"
        | "other_account"
        | "cancelled_hunt"
        | "archived_template"
        | "sends_too_late"
        | "ended";
    }
  /** The hunt has these fields otherwise. */
  | { result: "differs"; fields: string[] };

export type RetryAnswer<Response> =
  | { result: "accepted" | "replay"; response: Response }
  | { result: "conflict" | "missing" | "not_failed" | "not_safe" | "hunt_over" | "no_credit"; status?: MessageStatus };

export type ResolveAnswer<Response> =
  | { result: "accepted" | "replay"; response: Response }
  | { result: "conflict" | "missing" | "not_unknown"; status?: MessageStatus };
