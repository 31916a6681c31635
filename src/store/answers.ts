import type { Refusal } from "../core/refusals.ts";
import type { MessageStatus } from "./messages.ts";

export type Acceptance<Response> =
  | { result: "accepted" | "replay"; response: Response }
  | { result: Exclude<Refusal, "differs"> }
  /** The hunt has these fields otherwise. */
  | { result: "differs"; fields: string[] };

export type RetryAnswer<Response> =
  | { result: "accepted" | "replay"; response: Response }
  | { result: "conflict" | "missing" | "not_failed" | "not_safe" | "hunt_over" | "no_credit"; status?: MessageStatus };

export type ResolveAnswer<Response> =
  | { result: "accepted" | "replay"; response: Response }
  | { result: "conflict" | "missing" | "not_unknown"; status?: MessageStatus };
