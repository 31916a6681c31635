import type { Idempotency } from "../core/route.ts";
import type { Database } from "./database.ts";
import { utc } from "./times.ts";

/** A text of an account's own, in the version that is asked for, by default the newest. */
export interface StoredTemplate {
  templateId: string;
  accountId: string;
  name: string;
  /** null: for every channel that carries a text. */
  channel: string | null;
  version: number;
  text: string;
  createdAt: string;
  /** Of the newest version. */
  updatedAt: string;
  archivedAt: string | null;
}

export interface TemplateVersion {
  version: number;
  text: string;
  createdAt: string;
}

export type NewTemplate = Pick<StoredTemplate, "name" | "channel" | "text">;

export type TemplateAnswer =
  | { result: "done" | "replay"; response: { templateId: string; version: number } }
  | { result: "unknown_account" | "missing" | "conflict" };

/** All reject with `UnavailableError` while the database is away. Another account's template is as none. */
export interface TemplateStore {
  /** Makes one under `newId`, or with `id` its next version; the same text again is no new version. */
  put(
    accountId: string,
    ids: { id: string } | { newId: string },
    template: NewTemplate,
    idempotency: Idempotency | undefined,
  ): Promise<TemplateAnswer>;
  read(accountId: string, id: string, version?: number): Promise<StoredTemplate | undefined>;
  /** The newest first. */
  versions(id: string): Promise<TemplateVersion[]>;
  /** Those that are not archived, by id, after the id that `cursor` is. */
  list(accountId: string, cursor: string | undefined, limit: number): Promise<StoredTemplate[]>;
  /** Whether there was one. */
  archive(accountId: string, id: string): Promise<boolean>;
}

interface Row {
  id: string;
  account_id: string;
  name: string;
  channel: string | null;
  version: number;
  created_at: string;
  updated_at: string;
  archived_at: string | null;
  template_versions: { version: number; text: string }[];
}

const COLUMNS = "id, account_id, name, channel, version, created_at, updated_at, archived_at";
/** Versions that are shown. */
const MAX_VERSIONS = 100;

export function createTemplateStore(database: Database): TemplateStore {
  const table = () => database.client.from("templates");
  return {
    put(accountId, ids, { name, channel, text }, idempotency) {
      const id = "id" in ids ? { id: ids.id } : { new_id: ids.newId };
      return database.rpc("put_template", {
        p_account_id: accountId,
        p_template: { ...id, name, channel, text },
        p_idempotency: idempotency ?? null,
      });
    },
    async read(accountId, id, version) {
      const query = table().select(COLUMNS).eq("id", id).eq("account_id", accountId).maybeSingle<Row>();
      const row = await database.run("templates", query);
      if (!row) return undefined;
      const wanted = version ?? row.version;
      const texts = database.client.from("template_versions").select("version, text").eq("template_id", id);
      const found = await database.run(
        "template version",
        texts.eq("version", wanted).maybeSingle<Row["template_versions"][number]>(),
      );
      return found ? toTemplate({ ...row, version: wanted, template_versions: [found] }) : undefined;
    },
    async versions(id) {
      const query = database.client.from("template_versions").select("version, text, created_at").eq("template_id", id);
      const rows = await database.run(
        "template versions",
        query.order("version", { ascending: false }).limit(MAX_VERSIONS),
      );
      return (rows ?? []).map((row) => ({
        version: row.version as number,
        text: row.text as string,
        createdAt: utc(row.created_at as string),
      }));
    },
    async list(accountId, cursor, limit) {
      const all = table().select(`${COLUMNS}, template_versions (version, text)`).eq("account_id", accountId);
      const open = all.is("archived_at", null);
      const after = cursor === undefined ? open : open.gt("id", cursor);
      const rows = await database.run(
        "templates",
        after.order("id").limit(limit).overrideTypes<Row[], { merge: false }>(),
      );
      return (rows ?? []).map(toTemplate);
    },
    async archive(accountId, id) {
      const query = table().update({ archived_at: new Date().toISOString() }).eq("id", id).eq("account_id", accountId);
      const rows = await database.run("templates", query.is("archived_at", null).select("id"));
      return (rows ?? []).length > 0;
    },
  };
}

const toTemplate = (row: Row): StoredTemplate => ({
  templateId: row.id,
  accountId: row.account_id,
  name: row.name,
  channel: row.channel,
  version: row.version,
  text: row.template_versions.find(({ version }) => version === row.version)?.text ?? "",
  createdAt: utc(row.created_at),
  updatedAt: utc(row.updated_at),
  archivedAt: row.archived_at && utc(row.archived_at),
});
