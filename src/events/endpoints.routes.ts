import { z } from "zod";
import { namesLoopback, urlFaults, type FetchPolicy } from "../core/addresses.ts";
import { invalidRequest, notFound, ProblemError } from "../core/problem.ts";
import { refusalOf, REFUSALS } from "../core/refusals.ts";
import { route, type Route } from "../core/route.ts";
import { shortText, timestamp } from "../core/text.ts";
import type { EventStore, WebhookEndpoint } from "../store/events.ts";
import type { Secrets } from "./secrets.ts";
import { EVENTS } from "./data.ts";
import { exampleOf } from "./examples.ts";
import { eventFilterSchema, WEBHOOK_TYPES, type WebhookType } from "./types.ts";

export interface EndpointRoutesDeps {
  events: EventStore;
  secrets: Secrets;
  /** Where deliveries may go; default: public addresses, by https alone. */
  fetchPolicy: FetchPolicy | undefined;
  /** Somebody listens now: look at once. */
  wake(): void;
}

export const ENDPOINTS = "/api/webhook-endpoints";
export const TAG = "Webhooks out";
const MAX_URL = 2000;
const MAX_DESCRIPTION = 200;
const DAY_HOURS = 24;
const MAX_OVERLAP_HOURS = 7 * DAY_HOURS;

export const endpointSchema = z.object({
  endpointId: z.uuid(),
  accountId: z.string(),
  url: z.string(),
  description: z.string().nullable(),
  events: z.array(z.string()).nullable().describe("null: all"),
  enabled: z.boolean(),
  disabledBecause: z
    .string()
    .nullable()
    .describe(
      "`gone`: it has answered 410; `failing`: it has taken nothing for five days. null where a person turned it off",
    ),
  oldSecretUntil: timestamp().nullable().describe("Until then the secrets before this one sign as well"),
  lastDeliveredAt: timestamp().nullable(),
  failures: z.number().int().describe("Attempts that have failed since"),
  createdAt: timestamp(),
});
const withSecret = endpointSchema.extend({
  secret: z.string().describe("What deliveries are signed with; it is shown this once"),
});

export const ENDPOINT_EXAMPLE = {
  endpointId: "3f0d9a52-6c1e-4d0b-8f7a-2b9c4e5d6f70",
  accountId: "acc_456",
  url: "https://app.example.com/api/webhooks/auto-prospect",
  description: "the web app",
  events: ["message.*", "hunt.completed"],
  enabled: true,
  disabledBecause: null,
  oldSecretUntil: null,
  lastDeliveredAt: "2026-01-08T09:30:00.000Z",
  failures: 0,
  createdAt: "2026-01-08T09:00:00.000Z",
};
const SECRET_EXAMPLE = { ...ENDPOINT_EXAMPLE, secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" };

const fields = {
  url: z
    .string()
    .min(1)
    .max(MAX_URL)
    .describe("Where events are posted to: an https address on a public server, at port 443, 80, 8080 or 8443"),
  description: shortText(MAX_DESCRIPTION).nullable().describe("For people"),
  events: eventFilterSchema
    .nullable()
    .describe("Types, and groups such as `message.*`; null: all, those that are added later as well"),
};

export const endpointParams = z.object({ endpointId: z.uuid() });
export const NONE = { description: "There is no such endpoint." };
const TAKEN = {
  description: "It is there already.",
  codes: { endpoint_exists: "The account has an endpoint of this address. Change that one, or rotate its secret." },
};

const WEBHOOKS = Object.fromEntries(
  Object.entries(WEBHOOK_TYPES).map(([type, summary]) => [
    type,
    { summary, schema: EVENTS[type]!, example: exampleOf(type as WebhookType) },
  ]),
);

const LOOPBACK =
  "On a developer's machine WEBHOOK_ALLOW_LOOPBACK=true lets webhooks through to it; `npm run dev` sets it.";

const TOO_MANY =
  "An account has 20 endpoints at the most, those that are off included. Delete one that is not needed, or have one take more events.";

/** Where accounts want to be told of events. */
export function endpointRoutes({ events, secrets, fetchPolicy, wake }: EndpointRoutesDeps): Route[] {
  const one = `${ENDPOINTS}/:endpointId`;
  const found = { description: "The endpoint.", schema: endpointSchema, example: ENDPOINT_EXAMPLE };
  const shown = (what: string) => ({ description: what, schema: withSecret, example: SECRET_EXAMPLE });

  /** In the form in which it is connected to. */
  const checkedUrl = (given: string): string => {
    const { allowPrivate = false, allowLoopback = false } = fetchPolicy ?? {};
    const details = urlFaults(given, fetchPolicy);
    const target = URL.parse(given);
    const isOurs = target !== null && namesLoopback(target);
    if (target?.protocol === "http:" && allowPrivate === false && !(isOurs && allowLoopback)) {
      details.push("The URL is not an https:// address.");
    }
    if (details.length > 0 && isOurs && !allowLoopback) details.push(LOOPBACK);
    if (details.length > 0) throw invalidRequest(details.map((detail) => ({ pointer: "/url", detail })));
    return new URL(given).href;
  };

  return [
    route({
      method: "post",
      path: ENDPOINTS,
      tag: TAG,
      summary: "Be told of events",
      description:
        "From now on events of the account are posted there, signed to the Standard Webhooks specification. The answer shows the " +
        "secret; it is not shown again. An account has 20 endpoints at the most.",
      body: z.strictObject({
        accountId: shortText(200),
        url: fields.url,
        description: fields.description.default(null),
        events: fields.events.default(null),
      }),
      bodyExample: {
        accountId: "acc_456",
        url: "https://app.example.com/api/webhooks/auto-prospect",
        description: "the web app",
        events: ["message.*", "hunt.completed"],
      },
      webhooks: WEBHOOKS,
      responses: {
        201: { ...shown("Made, and turned on."), headers: { Location: "Where it is to be read." } },
        409: {
          description: "It is there already, or the account has as many as it may have.",
          codes: { ...TAKEN.codes, too_many_endpoints: TOO_MANY },
        },
        422: REFUSALS[422]!,
      },
      async handle({ body }) {
        const { secret, stored } = secrets.create();
        const made = await events.createEndpoint({ ...body, url: checkedUrl(body.url), secret: stored });
        if (made === "unknown_account") throw refusalOf("unknown_account", "/accountId");
        if (made === "exists") throw endpointExists();
        if (made === "too_many") throw tooManyEndpoints();
        wake();
        const headers = { Location: `${ENDPOINTS}/${made.id}` };
        return { status: 201, body: { ...endpointView(made), secret }, headers };
      },
    }),
    route({
      method: "get",
      path: ENDPOINTS,
      tag: TAG,
      summary: "Endpoints",
      query: z.object({ accountId: shortText(200).optional() }),
      responses: {
        200: {
          description: "In the order of creation.",
          schema: z.object({ endpoints: z.array(endpointSchema) }),
          example: { endpoints: [ENDPOINT_EXAMPLE] },
        },
      },
      async handle({ query: { accountId } }) {
        return { status: 200, body: { endpoints: (await events.endpoints(accountId)).map(endpointView) } };
      },
    }),
    route({
      method: "get",
      path: one,
      tag: TAG,
      summary: "An endpoint",
      params: endpointParams,
      responses: { 200: found, 404: NONE },
      async handle({ params: { endpointId } }) {
        return { status: 200, body: endpointView(existing(await events.endpoint(endpointId), endpointId)) };
      },
    }),
    route({
      method: "patch",
      path: one,
      tag: TAG,
      summary: "Change an endpoint, turn it off or on",
      description:
        "What is absent stays as it is. While it is off nothing is delivered and nothing new is kept for it; what was on its way " +
        "already goes on when it is on again.",
      params: endpointParams,
      body: z.strictObject({ ...fields, enabled: z.boolean() }).partial(),
      bodyExample: { events: ["message.reply", "hunt.*"], enabled: true },
      responses: { 200: found, 404: NONE, 409: TAKEN },
      async handle({ params: { endpointId }, body }) {
        const { url, ...rest } = body;
        const given = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
        const changes = { ...given, ...(url === undefined ? {} : { url: checkedUrl(url) }) };
        const changed = await events.changeEndpoint(endpointId, changes);
        if (changed === "exists") throw endpointExists();
        if (changed?.enabled) wake();
        return { status: 200, body: endpointView(existing(changed, endpointId)) };
      },
    }),
    route({
      method: "delete",
      path: one,
      tag: TAG,
      summary: "Delete an endpoint",
      description: "With its deliveries: what was on its way is not delivered any more.",
      params: endpointParams,
      responses: {
        200: {
          description: "It is gone.",
          schema: z.object({ endpointId: z.uuid() }),
          example: { endpointId: ENDPOINT_EXAMPLE.endpointId },
        },
        404: NONE,
      },
      async handle({ params: { endpointId } }) {
        if (!(await events.deleteEndpoint(endpointId))) throw notFound("webhook endpoint", endpointId);
        return { status: 200, body: { endpointId } };
      },
    }),
    route({
      method: "post",
      path: `${one}/rotate`,
      tag: TAG,
      summary: "Give an endpoint a new secret",
      description:
        "Until the overlap is over deliveries carry two signatures, one by the new secret and one by the old, so that receivers " +
        "can be changed in any order. Rotating again within it adds a third.",
      params: endpointParams,
      body: z
        .strictObject({
          overlapHours: z
            .number()
            .min(0)
            .max(MAX_OVERLAP_HOURS)
            .default(DAY_HOURS)
            .describe("0: the old secret is void at once, as after a leak"),
        })
        .default({ overlapHours: DAY_HOURS }),
      bodyExample: { overlapHours: 24 },
      responses: { 200: shown("The new secret, which is shown this once."), 404: NONE },
      async handle({ params: { endpointId }, body: { overlapHours } }) {
        const { secret, stored } = secrets.create();
        const changed = await events.rotateSecret(endpointId, stored, Math.round(overlapHours * 3600));
        return { status: 200, body: { ...endpointView(existing(changed, endpointId)), secret } };
      },
    }),
  ];
}

export function existing<T>(found: T | undefined, endpointId: string): T {
  if (found === undefined) throw notFound("webhook endpoint", endpointId);
  return found;
}

function endpointView({ id, ...rest }: WebhookEndpoint): z.output<typeof endpointSchema> {
  return { endpointId: id, ...rest };
}

const endpointExists = (): ProblemError =>
  new ProblemError({
    status: 409,
    code: "endpoint_exists",
    title: "The endpoint exists",
    detail: "The account has an endpoint of this address. Change that one, or rotate its secret.",
  });

const tooManyEndpoints = (): ProblemError =>
  new ProblemError({
    status: 409,
    code: "too_many_endpoints",
    title: "The account has as many endpoints as it may have",
    detail: TOO_MANY,
  });
