import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import { z } from "zod";
import { UnavailableError } from "../core/errors.ts";
import { check } from "../core/faults.ts";
import { invalidRequest, notFound } from "../core/problem.ts";
import { refusalOf, REFUSALS } from "../core/refusals.ts";
import { route, type Route } from "../core/route.ts";
import { shortText } from "../core/text.ts";
import type { Store } from "../store/store.ts";
import { MESSAGE_STATUSES } from "../store/store.ts";
import { cursorQuery, MESSAGE_PAGE_EXAMPLE, messagePageSchema, pageView } from "../store/message-view.ts";
import { contactSchema, readContacts, type ChannelDirectory, type Contact } from "./contacts.ts";
import type { HuntJob } from "./hunt.jobs.ts";
import { STATUS_EXAMPLE, statusSchema, summarise } from "./hunt.status.ts";
import { CHUNK_SIZE } from "./plan.ts";

export interface HuntRoutesDeps {
  store: Store;
  /** Queues an accepted submission. Rejects with `UnavailableError` while Redis is away. */
  enqueueHunt(hunt: HuntJob): Promise<void>;
  channels: ChannelDirectory;
  log: Logger;
}

/** Contacts of one request. More are submitted in several requests for the same hunt. */
const MAX_CONTACTS = 200_000;

/** NUL is let through here, because `shortText` tells of it. */
export const huntIdSchema = shortText(200).regex(/^[\0\P{Cc}]*$/u, "must not contain control characters");

export function huntRoutes({ store, enqueueHunt, channels, log }: HuntRoutesDeps): Route[] {
  const head = z.object({
    huntId: huntIdSchema.describe("The hunt, in the web app's own words. Giving it again adds contacts to it"),
    accountId: shortText(200),
    priority: z.enum(["high", "normal", "low"]).default("normal"),
    // Postgres has no year 0.
    expiresAt: z.iso
      .datetime({ offset: true })
      .refine((text) => !(Date.parse(text) <= 0), "must be after 1970")
      .optional()
      .describe("Nothing is sent after it; default: in seven days"),
  });
  const body = head.extend({ contacts: z.array(contactSchema(channels)).min(1).max(MAX_CONTACTS) });

  /** All faults of the whole body at once, without holding the event loop for a big hunt. */
  const parseBody = async (raw: unknown) => {
    const { value, faults } = check(head.extend({ contacts: z.array(z.unknown()).min(1).max(MAX_CONTACTS) }), raw);
    const given = (raw as { contacts?: unknown } | null)?.contacts;
    const contacts =
      Array.isArray(given) && given.length <= MAX_CONTACTS ? await readContacts(given, channels, faults) : [];
    if (faults.length > 0) throw invalidRequest(faults);
    return { ...(value as z.output<typeof head>), contacts };
  };

  return [
    route({
      method: "post",
      path: "/api/hunt/execute",
      tag: "Hunts",
      summary: "Contact everybody of a hunt",
      description:
        "Accepted contacts are safe in the database when the answer is given. The same contact (`adId` and `channel`) " +
        "is never contacted twice by one hunt, however often it is submitted.",
      idempotent: true,
      body,
      parseBody,
      bodyExample: {
        huntId: "hunt_123",
        accountId: "acc_456",
        contacts: [
          {
            adId: "ad_789",
            recipientPhone: "+33612345678",
            channel: "sms",
            message: "Bonjour, votre bien est-il libre ?",
          },
        ],
      },
      responses: {
        202: {
          description: "Accepted. `Location` is where to watch it.",
          schema: z.object({ jobId: z.uuid(), huntId: z.string(), accepted: z.number().int() }),
          example: { jobId: "7f1c9c1e-7a55-4b55-9c53-0a6d0b3f1a51", huntId: "hunt_123", accepted: 1 },
        },
        ...REFUSALS,
      },
      async handle({ body: hunt, idempotency }) {
        const {
          contacts,
          huntId: id,
          accountId,
          priority,
          ...given
        } = hunt as z.output<typeof head> & { contacts: Contact[] };
        // In UTC: Postgres refuses offsets of 16 hours and more.
        const expiresAt = given.expiresAt && new Date(given.expiresAt).toISOString();
        const jobId = randomUUID();
        const chunks: Contact[][] = [];
        for (let i = 0; i < contacts.length; i += CHUNK_SIZE) chunks.push(contacts.slice(i, i + CHUNK_SIZE));
        // A body of many megabytes is not staged for an account that will be refused.
        if (chunks.length > 1) await refuseAccount(store, accountId);
        const response = { jobId, huntId: id, accepted: contacts.length };
        const answer = await store.acceptHunt(
          { id, accountId, priority, expiresAt },
          jobId,
          chunks,
          response,
          idempotency,
        );
        if (answer.result !== "accepted" && answer.result !== "replay") throw refusalOf(answer.result, "/accountId");
        if (answer.result === "accepted") {
          await enqueueHunt({ jobId, huntId: id, chunks: chunks.length }).catch((error: unknown) => {
            // It is in the ledger: the sweeper queues it when Redis is back.
            if (!(error instanceof UnavailableError)) throw error;
            log.warn({ err: error, jobId, huntId: id }, "hunt accepted while Redis is away");
          });
        }
        const location = `/api/hunt/status/${answer.response.jobId}`;
        return { status: 202, body: answer.response, headers: { Location: location } };
      },
    }),

    // Before the next path, which fits the messages of a hunt called "status" too.
    route({
      method: "get",
      path: "/api/hunt/:huntId/messages",
      tag: "Hunts",
      summary: "What became of each contact",
      params: z.object({ huntId: huntIdSchema }),
      query: z.object({
        status: z.enum(MESSAGE_STATUSES).optional(),
        ...cursorQuery,
      }),
      responses: {
        200: {
          description: "Contacts in the order in which they were planned. Give `nextCursor` back to go on.",
          schema: messagePageSchema,
          example: MESSAGE_PAGE_EXAMPLE,
        },
        404: { description: "There is no such hunt." },
      },
      async handle({ params, query }) {
        const page = await store.huntMessages(params.huntId, {
          status: query.status,
          cursor: query.cursor,
          limit: query.limit,
        });
        if (page.messages.length === 0 && !(await store.huntExists(params.huntId)))
          throw notFound("hunt", params.huntId);
        return { status: 200, body: pageView(page) };
      },
    }),

    route({
      method: "get",
      path: "/api/hunt/status/:jobId",
      tag: "Hunts",
      summary: "How far a hunt is",
      description:
        "The counts always sum to `total`. They are the whole hunt's, whichever of its submissions is asked for.",
      params: z.object({ jobId: z.string().min(1).max(200) }),
      responses: {
        200: { description: "The hunt's counts now.", schema: statusSchema, example: STATUS_EXAMPLE },
        404: { description: "There is no such submission." },
      },
      async handle({ params: { jobId } }) {
        const status = z.uuid().safeParse(jobId).success ? await store.huntStatus(jobId) : undefined;
        if (!status) throw notFound("hunt job", jobId);
        return { status: 200, body: summarise(jobId, status) };
      },
    }),
  ];
}

async function refuseAccount(store: Store, accountId: string): Promise<void> {
  const account = await store.account(accountId);
  if (!account) throw refusalOf("unknown_account", "/accountId");
  if (account.status === "suspended") throw refusalOf("suspended_account", "/accountId");
}
