import type { Idempotency } from "../core/route.ts";
import type { Database } from "./database.ts";
import type { Acceptance } from "./answers.ts";
import { utc } from "./times.ts";

/** A hunt that comes again. Times are ISO 8601, in UTC. */
export interface StoredRecurrence {
  recurrenceId: string;
  accountId: string;
  name: string;
  /** Cron, five fields. */
  pattern: string;
  /** IANA. */
  timeZone: string;
  until: string | null;
  /** Runs at the most. */
  count: number | null;
  contacts: number;
  runs: number;
  /** For when the last run was planned. */
  lastRunAt: string | null;
  /** Of the last run that has made one. */
  lastHuntId: string | null;
  /** No run from before it is made up for. */
  since: string;
  pausedAt: string | null;
  createdAt: string;
}

export interface NewRecurrence extends Pick<
  StoredRecurrence,
  "accountId" | "name" | "pattern" | "timeZone" | "until" | "count"
> {
  id: string;
  /** {"priority", "content"?, "windows"?, "expiresAfterSeconds"?} of each run. */
  hunt: object;
  /** Whichever of these is archived keeps it from being accepted. */
  templateIds: readonly string[];
}

/** What is absent stays as it is; null takes it away. */
export interface RecurrenceChanges {
  name?: string | undefined;
  pattern?: string | undefined;
  timeZone?: string | undefined;
  /** ISO 8601. */
  until?: string | null | undefined;
  count?: number | null | undefined;
  /** Of `NewRecurrence`'s, field by field. */
  hunt?: object;
  templateIds: readonly string[];
  /** Channels over which a contact without a message of their own would now be told nothing. */
  uncovered: readonly string[];
}

/** `wordless`: there is such a contact. */
export type ChangeAnswer =
  | { result: "done"; moved: boolean; recurrence: StoredRecurrence }
  | { result: "missing" | "archived_template" | "wordless" };

/** All reject with `UnavailableError` while the database is away. Another account's recurrence is as none. */
export interface RecurrenceStore {
  /** Accepts one whose contacts, so many, are staged under its id. */
  accept<R>(
    recurrence: NewRecurrence,
    contacts: number,
    response: R,
    idempotency: Idempotency | undefined,
  ): Promise<Acceptance<R>>;
  read(accountId: string, id: string): Promise<StoredRecurrence | undefined>;
  /** Of whichever account. */
  find(id: string): Promise<StoredRecurrence | undefined>;
  /** By id, after the id that `cursor` is. */
  list(accountId: string, cursor: string | undefined, limit: number): Promise<StoredRecurrence[]>;
  /** Those of all accounts that are not paused, by id, after the id that `cursor` is. */
  active(cursor: string | undefined, limit: number): Promise<StoredRecurrence[]>;
  /** Resuming makes up for nothing. Answers it as it is now, and whether it was otherwise before. */
  pause(
    accountId: string,
    id: string,
    paused: boolean,
  ): Promise<{ recurrence: StoredRecurrence; changed: boolean } | undefined>;
  /**
   * Counts for the runs from now on. `contacts`: in place of its own, so many, staged under its id from chunk `first` on. Answers
   * whether its runs come at other times, or again.
   */
  change(
    accountId: string,
    id: string,
    changes: RecurrenceChanges,
    contacts: { first: number; count: number } | undefined,
  ): Promise<ChangeAnswer>;
  /** Takes out the contacts of a change that did not come to be. */
  unstage(id: string, first: number): Promise<void>;
  /** Whether there was one. */
  delete(accountId: string, id: string): Promise<boolean>;
  /** Submits the hunt of a time (ISO 8601), once; undefined where there is none to be run (any more). */
  run(id: string, at: string, jobId: string): Promise<{ huntId: string; chunks: number } | undefined>;
}

interface Row {
  id: string;
  account_id: string;
  name: string;
  pattern: string;
  time_zone: string;
  until: string | null;
  count: number | null;
  contacts: number;
  runs: number;
  last_run_at: string | null;
  last_hunt_id: string | null;
  begun_at: string | null;
  since: string;
  paused_at: string | null;
  created_at: string;
}

const COLUMNS =
  "id, account_id, name, pattern, time_zone, until, count, contacts, runs, last_run_at, last_hunt_id, begun_at, since, paused_at, created_at";

export function createRecurrenceStore(database: Database): RecurrenceStore {
  const table = () => database.client.from("recurrences");
  return {
    accept: ({ accountId, timeZone, templateIds, ...rest }, contacts, response, idempotency) =>
      database.rpc("accept_recurrence", {
        p_recurrence: { ...rest, account_id: accountId, time_zone: timeZone, template_ids: templateIds },
        p_contacts: contacts,
        p_idempotency: idempotency ?? null,
        p_response: response,
      }),
    async read(accountId, id) {
      const query = table().select(COLUMNS).eq("id", id).eq("account_id", accountId).maybeSingle<Row>();
      const row = await database.run("recurrence", query);
      return row ? toRecurrence(row) : undefined;
    },
    async find(id) {
      const row = await database.run("recurrence", table().select(COLUMNS).eq("id", id).maybeSingle<Row>());
      return row ? toRecurrence(row) : undefined;
    },
    async list(accountId, cursor, limit) {
      const all = table().select(COLUMNS).eq("account_id", accountId);
      const query = (cursor === undefined ? all : all.gt("id", cursor)).order("id").limit(limit);
      const rows = await database.run("recurrences", query.overrideTypes<Row[], { merge: false }>());
      return (rows ?? []).map(toRecurrence);
    },
    async active(cursor, limit) {
      const all = table().select(COLUMNS).is("paused_at", null);
      const query = (cursor === undefined ? all : all.gt("id", cursor)).order("id").limit(limit);
      const rows = await database.run("recurrences", query.overrideTypes<Row[], { merge: false }>());
      return (rows ?? []).map(toRecurrence);
    },
    async pause(accountId, id, paused) {
      const now = new Date().toISOString();
      const change = paused ? { paused_at: now } : { paused_at: null, since: now };
      const open = table().update(change).eq("id", id).eq("account_id", accountId);
      // What is so already keeps its time.
      const query = paused ? open.is("paused_at", null) : open.not("paused_at", "is", null);
      const rows = await database.run<unknown[]>("recurrence", query.select("id"));
      const recurrence = await this.read(accountId, id);
      return recurrence && { recurrence, changed: rows.length > 0 };
    },
    async change(accountId, id, { timeZone, templateIds, ...rest }, contacts) {
      const answer = await database.rpc<{ result: ChangeAnswer["result"]; moved: boolean }>("change_recurrence", {
        p_id: id,
        p_account_id: accountId,
        p_changes: { ...rest, time_zone: timeZone, template_ids: templateIds },
        p_first_chunk: contacts?.first ?? null,
        p_contacts: contacts?.count ?? null,
      });
      if (answer.result !== "done") return { result: answer.result };
      const recurrence = await this.read(accountId, id);
      return recurrence ? { result: "done", moved: answer.moved, recurrence } : { result: "missing" };
    },
    unstage: (id, first) => database.rpc("unstage_change", { p_id: id, p_first_chunk: first }),
    delete: (accountId, id) => database.rpc("delete_recurrence", { p_id: id, p_account_id: accountId }),
    run: async (id, at, jobId) =>
      (await database.rpc<{ huntId: string; chunks: number } | null>("run_recurrence", {
        p_id: id,
        p_at: at,
        p_job_id: jobId,
      })) ?? undefined,
  };
}

const toRecurrence = (row: Row): StoredRecurrence => ({
  recurrenceId: row.id,
  accountId: row.account_id,
  name: row.name,
  pattern: row.pattern,
  timeZone: row.time_zone,
  until: row.until && utc(row.until),
  count: row.count,
  contacts: row.contacts,
  runs: row.runs,
  lastRunAt: row.last_run_at && utc(row.last_run_at),
  lastHuntId: row.last_hunt_id,
  since: new Date(Math.max(Date.parse(row.since), row.begun_at ? Date.parse(row.begun_at) : 0)).toISOString(),
  pausedAt: row.paused_at && utc(row.paused_at),
  createdAt: utc(row.created_at),
});
