import { randomInt, randomUUID } from "node:crypto";
import type { Logger } from "pino";
import { z } from "zod";
import type { Clock } from "../core/clock.ts";
import { UnavailableError } from "../core/errors.ts";
import { invalidRequest, notFound } from "../core/problem.ts";
import { ARCHIVED, refusalOf, REFUSALS } from "../core/refusals.ts";
import { route, type Route } from "../core/route.ts";
import { shortText, timestamp } from "../core/text.ts";
import type { StoredRecurrence } from "../store/recurrences.ts";
import type { Store } from "../store/store.ts";
import { huntBody, refuseAccount } from "./body.ts";
import type { ChannelDirectory, Contact } from "./contacts.ts";
import { CHUNK_SIZE } from "./plan.ts";
import { recurrenceBody, type RecurrenceBody } from "./recurring.body.ts";
import { recurrenceChanges } from "./recurring.changes.ts";
import { EXAMPLE_ID as ID, RECURRENCE_EXAMPLE, recurrenceSchema } from "./recurring.schema.ts";
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

const NONE = { description: "The account has no such recurrence." };
const WORDLESS = "has contacts without a message of their own whom none of these templates speaks for";
/** Of one set of contacts, at the most. */
const CHUNKS = 1000;
/** Chunks that are staged in one call. */
const STAGED_CHUNKS = 10;

/** Hunts that come again, by a cron pattern. */
export function recurrenceRoutes({ store, recurrences, channels, clock, log }: RecurrenceRoutesDeps): Route[] {
  const hunts = huntBody(channels, store, clock);
  const body = recurrenceBody(hunts, channels, clock);
  const changes = recurrenceChanges(hunts, channels);
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
  const stage = async (id: string, contacts: readonly Contact[], first = 0): Promise<void> => {
    for (let from = 0; from < contacts.length; from += STAGED_CHUNKS * CHUNK_SIZE) {
      const part: { no: number; contacts: Contact[] }[] = [];
      for (let i = from; i < Math.min(from + STAGED_CHUNKS * CHUNK_SIZE, contacts.length); i += CHUNK_SIZE)
        part.push({ no: first + i / CHUNK_SIZE, contacts: contacts.slice(i, i + CHUNK_SIZE) });
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
          codes: { template_archived: ARCHIVED },
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
    route({
      ...shared,
      method: "patch",
      path: `${path}/:recurrenceId`,
      summary: "Change a recurring hunt",
      description:
        "Counts for the runs from now on, also in a pause; what is absent stays as it is, and it may be said again. A run that has " +
        "begun goes on as it is: change its hunt. A run at an old time that has not begun is left out, and none of the new times " +
        "that are past is made up for.",
      params,
      query,
      body: changes.schema,
      parseBody: async (raw) => ({ raw }),
      bodyExample: { cron: "30 8 * * 1-5", hunt: { template: "Bonjour {{ name }} !" } },
      responses: {
        200: { description: "It is so now.", schema: recurrenceSchema, example: RECURRENCE_EXAMPLE },
        400: REFUSALS[400]!,
        404: NONE,
        409: { description: "Its hunt cannot be.", codes: { template_archived: ARCHIVED } },
      },
      async handle({ params: { recurrenceId }, query: { accountId }, body }) {
        const stored = await store.recurrences.read(accountId, recurrenceId);
        if (!stored) throw notFound("recurrence", recurrenceId);
        const given = await changes.read((body as { raw: unknown }).raw, stored, clock.now());
        // Beside its own, which stay until all of these are there.
        const staged = given.contacts && { first: CHUNKS * randomInt(1, 2_000_000), count: given.contacts.length };
        const change = async () => {
          if (staged) await stage(recurrenceId, given.contacts ?? [], staged.first);
          return store.recurrences.change(accountId, recurrenceId, given.changes, staged);
        };
        let isDone = false;
        try {
          const answer = await change();
          if (answer.result !== "done") throw notChanged(answer.result, recurrenceId);
          isDone = true;
          const { recurrence, moved } = answer;
          const comesAgain = nextRunOf(recurrence, clock.now()) !== undefined;
          if (moved) {
            const telling = comesAgain ? recurrences.schedule(recurrence) : recurrences.unschedule(recurrenceId);
            await tell(telling, recurrenceId);
          }
          return { status: 200, body: view(recurrence) };
        } finally {
          if (staged && !isDone) {
            await store.recurrences
              .unstage(recurrenceId, staged.first)
              .catch((error: unknown) =>
                log.debug({ err: error, recurrenceId }, "staged contacts stay until the next run"),
              );
          }
        }
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

function notChanged(result: "missing" | "archived_template" | "wordless", recurrenceId: string): Error {
  if (result === "missing") return notFound("recurrence", recurrenceId);
  if (result === "wordless") return invalidRequest([{ pointer: "/hunt", detail: WORDLESS }]);
  return refusalOf(result, "/hunt");
}
