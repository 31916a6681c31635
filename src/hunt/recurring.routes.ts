import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import { z } from "zod";
import type { Clock } from "../core/clock.ts";
import { UnavailableError } from "../core/errors.ts";
import { notFound } from "../core/problem.ts";
import { ARCHIVED, refusalOf, REFUSALS } from "../core/refusals.ts";
import { route, type Route } from "../core/route.ts";
import { shortText, timestamp } from "../core/text.ts";
import type { StoredRecurrence } from "../store/recurrences.ts";
import type { Store } from "../store/store.ts";
import { huntBody, refuseAccount } from "./body.ts";
import type { ChannelDirectory, Contact } from "./contacts.ts";
import { CHUNK_SIZE } from "./plan.ts";
import { recurrenceBody, type RecurrenceBody } from "./recurring.body.ts";
import { nextRun, nextRunOf } from "./recurring.ts";

export interface RecurrenceRoutesDeps {
  store: Store;
  /** Redis' schedulers. Both reject with `UnavailableError`. */
  recurrences: {
    schedule(recurrence: Pick<StoredRecurrence, "recurrenceId" | "pattern" | "timeZone" | "until">): Promise<void>;
    unschedule(recurrenceId: string): Promise<void>;
  };
  channels: ChannelDirectory;
  clock: Clock;
  log: Logger;
}

const recurrenceSchema = z.object({
  recurrenceId: z.uuid(),
  accountId: z.string(),
  name: z.string(),
  cron: z.string(),
  timeZone: z.string(),
  until: z.string().nullable(),
  count: z.int().nullable(),
  contacts: z.int(),
  runs: z.int().describe("So far. Each is a hunt, `<recurrenceId>:<time>`, the time in UTC as `2026-01-05T08:00:00Z`"),
  lastRunAt: timestamp().nullable().describe("For when the last one was planned"),
  lastHuntId: z.string().nullable().describe("The hunt of the last run that has made one: `GET /api/hunts/{huntId}`"),
  nextRunAt: timestamp().nullable().describe("null: it is paused, or over"),
  pausedAt: timestamp().nullable(),
  createdAt: timestamp(),
});

const ID = "7f1c9c1e-7a55-4b55-9c53-0a6d0b3f1a51";
/** For the documents. */
const RECURRENCE_EXAMPLE: z.output<typeof recurrenceSchema> = {
  recurrenceId: ID,
  accountId: "acc_456",
  name: "Every Monday",
  cron: "0 9 * * 1",
  timeZone: "Europe/Paris",
  until: null,
  count: null,
  contacts: 2,
  runs: 1,
  lastRunAt: "2026-01-05T08:00:00.000Z",
  lastHuntId: `${ID}:2026-01-05T08:00:00Z`,
  nextRunAt: "2026-01-12T08:00:00.000Z",
  pausedAt: null,
  createdAt: "2026-01-02T09:30:00.000Z",
};
const NONE = { description: "The account has no such recurrence." };
/** Chunks that are staged in one call. */
const STAGED_CHUNKS = 10;

/** Hunts that come again, by a cron pattern. */
export function recurrenceRoutes({ store, recurrences, channels, clock, log }: RecurrenceRoutesDeps): Route[] {
  const body = recurrenceBody(huntBody(channels, store, clock), channels, clock);
  const path = "/api/recurrences";
  const params = z.object({ recurrenceId: z.uuid() });
  const query = z.object({ accountId: shortText(200) });
  const shared = { tag: "Recurring hunts" } as const;

  const view = ({ pattern, since: _, ...rest }: StoredRecurrence): z.output<typeof recurrenceSchema> => {
    const next = nextRunOf({ pattern, since: _, ...rest }, clock.now());
    return { ...rest, cron: pattern, nextRunAt: next === undefined ? null : new Date(next).toISOString() };
  };
  /** What Redis cannot be told now the sweeper tells it when it is back. */
  const tell = (telling: Promise<void>, recurrenceId: string): Promise<void> =>
    telling.catch((error: unknown) => {
      if (!(error instanceof UnavailableError)) throw error;
      log.warn({ err: error, recurrenceId }, "a recurrence changed while Redis is away");
    });
  const stage = async (id: string, contacts: readonly Contact[]): Promise<void> => {
    for (let from = 0; from < contacts.length; from += STAGED_CHUNKS * CHUNK_SIZE) {
      const part: { no: number; contacts: Contact[] }[] = [];
      for (let i = from; i < Math.min(from + STAGED_CHUNKS * CHUNK_SIZE, contacts.length); i += CHUNK_SIZE)
        part.push({ no: i / CHUNK_SIZE, contacts: contacts.slice(i, i + CHUNK_SIZE) });
      await store.stageChunks(id, part);
    }
  };

  const steering = (action: "pause" | "resume", summary: string, description: string): Route =>
    route({
      ...shared,
      method: "post",
      path: `${path}/:recurrenceId/${action}`,
      summary,
      description,
      params,
      query,
      responses: {
        200: {
          description: "It is so now, and may be said again.",
          schema: recurrenceSchema,
          example: RECURRENCE_EXAMPLE,
        },
        404: NONE,
      },
      async handle({ params: { recurrenceId }, query: { accountId } }) {
        const paused = await store.recurrences.pause(accountId, recurrenceId, action === "pause");
        if (!paused) throw notFound("recurrence", recurrenceId);
        const { recurrence, changed } = paused;
        if (action === "pause") await tell(recurrences.unschedule(recurrenceId), recurrenceId);
        // A run whose time has come and that still waits for a worker would be thrown away.
        else if (changed) await tell(recurrences.schedule(recurrence), recurrenceId);
        return { status: 200, body: view(recurrence) };
      },
    });

  return [
    route({
      ...shared,
      method: "post",
      path,
      summary: "Have a hunt come again",
      description:
        "Each run is a hunt of its own, with these contacts and the templates' texts as they are now, once, whoever runs it. The " +
        "body's `hunt` is that of `POST /api/hunt/execute`, without what each run has of its own.",
      idempotent: true,
      body: body.schema,
      parseBody: body.parse,
      bodyExample: body.example,
      responses: {
        201: {
          description: "It is safe in the database.",
          schema: z.object({ recurrenceId: z.uuid(), contacts: z.int(), nextRunAt: timestamp() }),
          example: { recurrenceId: ID, contacts: 2, nextRunAt: "2026-01-09T08:00:00.000Z" },
        },
        400: REFUSALS[400]!,
        403: REFUSALS[403]!,
        409: {
          description: "The key is taken, or the hunt cannot be.",
          codes: {
            idempotency_conflict: "The `Idempotency-Key` came with another body within 24 hours.",
            template_archived: ARCHIVED,
          },
        },
        422: REFUSALS[422]!,
      },
      async handle({ body: given, idempotency }) {
        const { recurrence, contacts } = given as unknown as RecurrenceBody;
        const id = randomUUID();
        await refuseAccount(store, recurrence.accountId);
        const nextRunAt = new Date(nextRun(recurrence, clock.now()) ?? 0).toISOString();
        const response = { recurrenceId: id, contacts: contacts.length, nextRunAt };
        const discard = (): Promise<void> =>
          store
            .discardChunks(id)
            .catch((error: unknown) => log.debug({ err: error, recurrenceId: id }, "staged contacts stay for an hour"));
        try {
          await stage(id, contacts);
          const answer = await store.recurrences.accept({ id, ...recurrence }, contacts.length, response, idempotency);
          if (answer.result !== "accepted") await discard();
          if (answer.result !== "accepted" && answer.result !== "replay") throw refusalOf(answer.result, "/accountId");
          if (answer.result === "accepted") await tell(recurrences.schedule({ ...recurrence, recurrenceId: id }), id);
          return { status: 201, body: answer.response };
        } catch (error) {
          await discard();
          throw error;
        }
      },
    }),
    route({
      ...shared,
      method: "get",
      path,
      summary: "An account's recurring hunts",
      query: query.extend({
        cursor: z.uuid().optional(),
        limit: z.coerce.number().int().min(1).max(1000).default(100),
      }),
      responses: {
        200: {
          description: "Also those that are over. Give `nextCursor` back to go on.",
          schema: z.object({ recurrences: z.array(recurrenceSchema), nextCursor: z.string().nullable() }),
          example: { recurrences: [RECURRENCE_EXAMPLE], nextCursor: null },
        },
      },
      async handle({ query: { accountId, cursor, limit } }) {
        const page = await store.recurrences.list(accountId, cursor, limit);
        const nextCursor = page.length === limit ? (page.at(-1)?.recurrenceId ?? null) : null;
        return { status: 200, body: { recurrences: page.map(view), nextCursor } };
      },
    }),
    route({
      ...shared,
      method: "get",
      path: `${path}/:recurrenceId`,
      summary: "A recurring hunt",
      params,
      query,
      responses: {
        200: { description: "As it is now.", schema: recurrenceSchema, example: RECURRENCE_EXAMPLE },
        404: NONE,
      },
      async handle({ params: { recurrenceId }, query: { accountId } }) {
        const recurrence = await store.recurrences.read(accountId, recurrenceId);
        if (!recurrence) throw notFound("recurrence", recurrenceId);
        return { status: 200, body: view(recurrence) };
      },
    }),
    steering("pause", "Begin no more runs", "A run that has begun goes on: pause its hunt."),
    steering("resume", "Go on with the next run", "What its time came for meanwhile is not made up for."),
    route({
      ...shared,
      method: "delete",
      path: `${path}/:recurrenceId`,
      summary: "End a recurring hunt",
      description: "For good, with its contacts. Hunts that have begun go on.",
      params,
      query,
      responses: {
        200: {
          description: "It is gone.",
          schema: z.object({ recurrenceId: z.uuid() }),
          example: { recurrenceId: ID },
        },
        404: NONE,
      },
      async handle({ params: { recurrenceId }, query: { accountId } }) {
        if (!(await store.recurrences.delete(accountId, recurrenceId))) throw notFound("recurrence", recurrenceId);
        await tell(recurrences.unschedule(recurrenceId), recurrenceId);
        return { status: 200, body: { recurrenceId } };
      },
    }),
  ];
}
