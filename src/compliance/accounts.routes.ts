import { isSupportedCountry } from "libphonenumber-js";
import { z } from "zod";
import { invalidRequest, notFound } from "../core/problem.ts";
import { refusalOf } from "../core/refusals.ts";
import { route, type Route } from "../core/route.ts";
import { shortText, timestamp } from "../core/text.ts";
import type { AccountStore } from "../store/accounts.ts";
import { limitsSchema, senderFaults, withSenders } from "./limits.ts";
import { policySchema } from "./policy.ts";

export interface AccountRoutesDeps {
  accounts: AccountStore;
  /** Names of the channels that may be metered. */
  channels: readonly string[];
}

const MAX_ADDED = 1_000_000_000;

const fields = {
  status: z.enum(["active", "suspended"]).describe("`suspended`: nothing is sent, not even what is queued"),
  defaultCountry: z
    .string()
    .regex(/^[A-Z]{2}$/, "must be a country by ISO 3166-1, such as FR")
    .refine((country) => !/^[A-Z]{2}$/.test(country) || isSupportedCountry(country), "is no country with phones")
    .describe("How numbers in national format are read"),
  policy: policySchema.describe(
    "When, how often and to whom marketing may be sent: a name, or values of its own; null: the service's `DEFAULT_POLICY`",
  ),
  limits: limitsSchema
    .nullable()
    .describe(
      "How fast hunts are sent: each entry that fits holds. `[]`: no limits; null: the service's `SENDING_LIMITS`. Single messages do not count",
    ),
  consentDeclared: z.boolean().describe("Everybody whom the account contacts has agreed to be contacted"),
  resendUnknown: z
    .boolean()
    .describe("What becomes `unknown` is sent again, once: the account would rather write twice than not at all"),
};

const creditsSchema = z.object({
  channel: z.string(),
  balance: z.number().int().describe("What can still be reserved"),
  reserved: z.number().int().describe("For messages that wait"),
  spent: z.number().int(),
});

const accountSchema = z.object({
  accountId: z.string(),
  status: z.enum(["active", "suspended"]),
  defaultCountry: z.string(),
  policy: z.unknown().describe("As it was given"),
  limits: z.unknown().describe("As they were given, numbers of senders in E.164"),
  consentDeclared: z.boolean(),
  resendUnknown: z.boolean(),
  createdAt: timestamp(),
  credits: z.array(creditsSchema).describe("By channel; one that is missing is not metered"),
});

const EXAMPLE = {
  accountId: "acc_456",
  status: "active",
  defaultCountry: "FR",
  policy: { base: "marketing-fr", stopNotice: "STOP au 36111" },
  limits: [{ channel: "sms", sender: "*", perSecond: 10, perDay: 5000, timeZone: "Europe/Paris" }],
  consentDeclared: false,
  resendUnknown: false,
  createdAt: "2026-01-08T09:30:00.000Z",
  credits: [{ channel: "sms", balance: 4200, reserved: 30, spent: 770 }],
};

const NONE = { description: "There is no such account." };

/** The tenants: who they are to the service, under which policy they send, and what they may spend. */
export function accountRoutes({ accounts, channels }: AccountRoutesDeps): Route[] {
  const params = z.object({ accountId: shortText(200) });
  const found = { description: "The account.", schema: accountSchema, example: EXAMPLE };
  const shared = { tag: "Accounts", params } as const;
  const path = "/api/accounts/:accountId";
  const changes = z.strictObject(z.object(fields).partial().shape);
  const limitsIn = (limits: z.output<typeof limitsSchema>, country: string): typeof limits => {
    const faults = senderFaults(limits, country);
    if (faults.length > 0) throw invalidRequest(faults.map((each) => ({ ...each, pointer: `/limits${each.pointer}` })));
    return withSenders(limits, country);
  };

  return [
    route({
      ...shared,
      method: "get",
      path,
      summary: "An account",
      responses: { 200: found, 404: NONE },
      async handle({ params: { accountId } }) {
        const account = await accounts.read(accountId);
        if (!account) throw notFound("account", accountId);
        return { status: 200, body: account };
      },
    }),
    route({
      ...shared,
      method: "put",
      path,
      summary: "Make an account, or replace its settings",
      description:
        "What is absent is at its default from then on: active, French numbers, the service's policy, no consent declared. " +
        "Credits are left alone. A change counts within five seconds, for what waits as well.",
      body: z.strictObject({
        status: fields.status.default("active"),
        defaultCountry: fields.defaultCountry.default("FR"),
        policy: fields.policy.default(null),
        limits: fields.limits.default(null),
        consentDeclared: fields.consentDeclared.default(false),
        resendUnknown: fields.resendUnknown.default(false),
      }),
      bodyExample: { defaultCountry: "FR", policy: "marketing-fr", consentDeclared: true },
      responses: { 200: found },
      async handle({ params: { accountId }, body }) {
        const limits = body.limits && limitsIn(body.limits, body.defaultCountry);
        return { status: 200, body: await accounts.put(accountId, { ...body, limits }) };
      },
    }),
    route({
      ...shared,
      method: "patch",
      path,
      summary: "Change an account's settings",
      description:
        "What is absent stays as it is; a policy and limits are replaced as a whole. A change counts within five seconds, for what waits as well.",
      body: changes,
      bodyExample: { policy: { base: "marketing-fr", perDay: 2, stopNotice: "STOP au 36111" } },
      responses: { 200: found, 404: NONE },
      async handle({ params: { accountId }, body }) {
        const change = body as Parameters<AccountStore["change"]>[1];
        if (body.limits) {
          const country = body.defaultCountry ?? (await accounts.read(accountId))?.defaultCountry;
          if (country === undefined) throw notFound("account", accountId);
          change.limits = limitsIn(body.limits, country);
        }
        const account = await accounts.change(accountId, change);
        if (!account) throw notFound("account", accountId);
        return { status: 200, body: account };
      },
    }),
    route({
      ...shared,
      method: "post",
      path: `${path}/credits`,
      summary: "Add credits",
      description:
        "Each message takes one. From the first time on the channel is metered: what there is no credit for is skipped. Without an " +
        "`Idempotency-Key` a repeated request adds again.",
      idempotent: true,
      body: z.strictObject({
        channel: z.enum(channels as [string, ...string[]]),
        amount: z.int().min(0).max(MAX_ADDED).describe("0 only begins to meter the channel"),
      }),
      bodyExample: { channel: "sms", amount: 5000 },
      responses: {
        200: { description: "Added.", schema: creditsSchema, example: EXAMPLE.credits[0] },
        404: NONE,
        409: {
          description: "The key is taken.",
        },
      },
      async handle({ params: { accountId }, body: { channel, amount }, idempotency }) {
        const answer = await accounts.addCredits(accountId, channel, amount, idempotency);
        switch (answer.result) {
          case "unknown_account":
            throw notFound("account", accountId);
          case "conflict":
            throw refusalOf("conflict", "/accountId");
          case "too_many":
            throw invalidRequest([{ pointer: "/amount", detail: "is more than a balance can hold" }]);
          case "added":
          case "replay":
            return { status: 200, body: answer.response };
        }
      },
    }),
  ];
}
