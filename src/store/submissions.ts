import type { Idempotency } from "../core/route.ts";
import { Batcher } from "./batcher.ts";
import type { Database } from "./database.ts";
import type { Acceptance, NewHunt, Store } from "./store.ts";

type Staged = { no: number; contacts: unknown[] }[];

export interface Submissions extends Pick<Store, "acceptHunt" | "stageChunks" | "discardChunks" | "acceptStaged"> {
  /** What is on its way. */
  readonly batcher: Pick<Batcher<object, Acceptance<never>>, "drained" | "close">;
}

/** Contacts that one request carries at the most when a submission is staged. */
const STAGED_CONTACTS = 5000;

/** Submissions of hunts: their contacts in place, then accepted with those of other callers in one call. */
export function createSubmissions(
  database: Database,
  callers: { maxConcurrent: number; maxWaitMs: number; waitForDatabase: boolean; onFlush?(items: number): void },
): Submissions {
  const batcher = new Batcher<object, Acceptance<never>>({
    flush: (items) => database.rpc("accept_hunts", { p_items: items }),
    ...callers,
    maxSize: 20,
  });
  const stage = (jobId: string, chunks: Staged): Promise<void> =>
    database.rpc("stage_chunks", { p_job_id: jobId, p_chunks: chunks });
  const accept = <R>(
    hunt: NewHunt,
    jobId: string,
    contacts: number,
    last: Staged,
    response: R,
    idempotency: Idempotency | undefined,
  ): Promise<Acceptance<R>> =>
    batcher.add({
      hunt: toHuntRow(hunt),
      job_id: jobId,
      contacts,
      chunks: last,
      idempotency: idempotency ?? null,
      response,
    });

  return {
    batcher,
    async acceptHunt(hunt, jobId, chunks, response, idempotency) {
      const contacts = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      const parts = inParts(chunks.map((chunk, no) => ({ no, contacts: chunk })));
      const last = parts.pop() ?? [];
      for (const part of parts) await stage(jobId, part);
      return accept(hunt, jobId, contacts, last, response, idempotency);
    },
    stageChunks: stage,
    discardChunks: (jobId) => database.rpc("discard_chunks", { p_job_id: jobId }),
    acceptStaged: (hunt, jobId, contacts, response, idempotency) =>
      accept(hunt, jobId, contacts, [], response, idempotency),
  };
}

const toHuntRow = ({ accountId, expiresAt, sendAt, lastSendAt, templateIds = [], ...rest }: NewHunt): object => ({
  ...rest,
  template_ids: templateIds,
  account_id: accountId,
  expires_at: expiresAt,
  send_at: sendAt,
  last_send_at: lastSendAt,
});

function inParts(chunks: { no: number; contacts: unknown[] }[]): { no: number; contacts: unknown[] }[][] {
  const parts: { no: number; contacts: unknown[] }[][] = [[]];
  let contacts = 0;
  for (const chunk of chunks) {
    if (contacts > 0 && contacts + chunk.contacts.length > STAGED_CONTACTS) {
      parts.push([]);
      contacts = 0;
    }
    parts.at(-1)?.push(chunk);
    contacts += chunk.contacts.length;
  }
  return parts;
}
