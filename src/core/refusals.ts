import { invalidRequest, ProblemError } from "./problem.ts";
import type { RouteResponse } from "./route.ts";

/** Why the ledger takes a request not at all. */
export type Refusal =
  | "conflict"
  | "unknown_account"
  | "suspended_account"
  | "other_account"
  | "cancelled_hunt"
  | "archived_template"
  | "sends_too_late"
  | "ended"
  | "differs";

/** Of a hunt that is over for good. */
export const CANCELLED = "This hunt was cancelled, which is for good. To contact these people, submit another hunt.";

export const ARCHIVED = "A template of this hunt was archived. Nothing was enqueued. Use another one.";

const DIFFERS =
  "The hunt has these fields otherwise, and a further submission does not change them. Nothing was enqueued. Leave them out, or change " +
  "the hunt first: PATCH /api/hunts/{huntId}.";

/** The answers that `refusalOf` can give, for a route's `responses`. */
export const REFUSALS: Record<number, RouteResponse> = {
  400: { description: "Not valid: `errors` lists every fault by JSON pointer. Nothing was enqueued." },
  403: {
    description: "The account may not send.",
    codes: { suspended_account: "A suspended account sends nothing. Nothing was enqueued." },
  },
  409: {
    description: "It is taken.",
    codes: {
      hunt_of_other_account: "A hunt of this id exists already and is not this account's.",
      hunt_cancelled: CANCELLED,
      template_archived: ARCHIVED,
      hunt_differs: DIFFERS,
    },
  },
  422: {
    description: "There is no such account.",
    codes: { unknown_account: "Make it first: `PUT /api/accounts/{accountId}`." },
  },
};

/** The problem that a refusal is to the caller; `pointer` is where the account was named, `fields` are what differs. */
export function refusalOf(refusal: Refusal, pointer: string, fields: readonly string[] = []): ProblemError {
  switch (refusal) {
    case "conflict":
      return new ProblemError({
        status: 409,
        code: "idempotency_conflict",
        title: "The Idempotency-Key was used before",
        detail: "This Idempotency-Key came with another body within 24 hours. Use a new key for a new request.",
      });
    case "unknown_account":
      return new ProblemError({
        status: 422,
        code: "unknown_account",
        title: "Unknown account",
        detail: "There is no such account. Make it first: PUT /api/accounts/{accountId}.",
        errors: [{ pointer, detail: "names no account" }],
      });
    case "suspended_account":
      return new ProblemError({
        status: 403,
        code: "suspended_account",
        title: "The account is suspended",
        detail: "A suspended account sends nothing. Nothing was enqueued.",
        errors: [{ pointer, detail: "names a suspended account" }],
      });
    case "other_account":
      return new ProblemError({
        status: 409,
        code: "hunt_of_other_account",
        title: "The hunt belongs to another account",
        detail: "A hunt of this id exists already and is not this account's. Nothing was enqueued.",
        errors: [{ pointer: "/huntId", detail: "is taken" }],
      });
    case "sends_too_late":
      return invalidRequest([
        {
          pointer: "/sendAt",
          detail: "this, or a contact's, is not before the hunt's expiresAt, after which nothing is sent",
        },
      ]);
    case "ended":
      return invalidRequest([
        { pointer: "/expiresAt", detail: "this, or the hunt's own, is in the past: nothing would be sent" },
      ]);
    case "differs":
      return new ProblemError({
        status: 409,
        code: "hunt_differs",
        title: "The hunt says otherwise",
        detail: DIFFERS,
        errors: fields.map((name) => ({ pointer: `/${name}`, detail: "is not as the hunt has it" })),
      });
    case "cancelled_hunt":
      return new ProblemError({
        status: 409,
        code: "hunt_cancelled",
        title: "The hunt was cancelled",
        detail: CANCELLED,
      });
    case "archived_template":
      return new ProblemError({
        status: 409,
        code: "template_archived",
        title: "The template was archived",
        detail: ARCHIVED,
      });
  }
}
