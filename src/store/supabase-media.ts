import type { Database } from "./database.ts";
import { MEDIA_LIFETIME_MS, type MediaStore } from "./sessions.ts";

/** Uploads on Supabase. */
export function createMediaStore(database: Database): MediaStore {
  const { client } = database;
  return {
    async keepMedia({ id, accountId, contentType, fileName, data }) {
      const row = {
        id,
        account_id: accountId,
        content_type: contentType,
        file_name: fileName,
        size: data.length,
        data: data.toString("base64"),
      };
      await database.run("media", client.from("media").upsert(row));
    },
    async media(id, accountId) {
      const query = client
        .from("media")
        .select("content_type, file_name, data")
        .eq("id", id)
        .eq("account_id", accountId)
        .gte("created_at", new Date(Date.now() - MEDIA_LIFETIME_MS).toISOString())
        .maybeSingle();
      const row = await database.run<{ content_type: string; file_name: string | null; data: string } | null>(
        "media",
        query,
      );
      if (!row) return undefined;
      const { content_type: contentType, file_name: fileName, data } = row;
      return { id, accountId, contentType, fileName: fileName ?? undefined, data: Buffer.from(data, "base64") };
    },
  };
}
