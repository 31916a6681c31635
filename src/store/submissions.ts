import type { Idempotency } from "../core/route.ts";
import { Batcher } from "./batcher.ts";
import type { Database } from "./database.ts";
import type { OpenHours } from "../core/rules.ts";
import type { Acceptance } from "./answers.ts";

export interface NewHunt {
  id: string;
  accountId: string;
  /** undefined: as the hunt has it, a new one "normal". */
  priority: "high" | "normal" | "low" | undefined;
  /** undefined: as the hunt has it, a new one `defaultExpiresAt`. */
  expiresAt: string | undefined;
  /** Default: in seven days. */
  defaultExpiresAt?: string | undefined;
  /** What this submission says to contacts without a message; kept as it is. */
  content?: unknown;
  /** Whichever of these is archived keeps it from being accepted. */
  templateIds?: readonly string[];
  /** Of this submission's contacts without a time of their own, ISO 8601. */
  sendAt?: string | undefined;
  /** The latest of its contacts' own times. */
  lastSendAt?: string | undefined;
  /** undefined: as the hunt has them. */
  windows?: Windows | undefined;
}

/** When on which days a hunt's messages are sent. */
export interface Windows extends OpenHours {
  /** Evenly over the open time until `until`, else until the window closes. */
  spread?: boolean | undefined;
  /** ISO 8601. */
  until?: string | undefined;
}

type Staged = { no: number; contacts: unknown[] }[];

/** What hunts are submitted with. */
export interface SubmissionStore {
  /** Writes a submission in chunks. Nothing of it counts before the last one is in. */
  acceptHunt<R>(
    hunt: NewHunt,
    jobId: string,
    chunks: unknown[][],
    response: R,
    idempotency: Idempotency | undefined,
  ): Promise<Acceptance<R>>;

  /** Puts chunks of a submission in place, which count once it is accepted; what never is goes after an hour. */
  stageChunks(jobId: string, chunks: { no: number; contacts: unknown[] }[]): Promise<void>;
  /** Takes out what was staged of a submission that is not to be accepted. */
  discardChunks(jobId: string): Promise<void>;
  /** Accepts what was staged, all of which has so many contacts. */
  acceptStaged<R>(
    hunt: NewHunt,
    jobId: string,
    contacts: number,
    response: R,
    idempotency: Idempotency | undefined,
  ): Promise<Acceptance<R>>;
}

interface Submissions {
  readonly store: SubmissionStore;
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
    flush: (items) => database.rpcRaw("accept_hunts", { p_items: items }),
    ...callers,
    maxSize: 20,
  });
  const stage = (jobId: string, chunks: Staged): Promise<void> =>
    database.rpcRaw("stage_chunks", { p_job_id: jobId, p_chunks: chunks });
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

  const store: SubmissionStore = {
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
  return { store, batcher };
}

export const toHuntRow = ({
  accountId,
  expiresAt,
  defaultExpiresAt,
  sendAt,
  lastSendAt,
  templateIds = [],
  ...rest
}: NewHunt): object => ({
  ...rest,
  template_ids: templateIds,
  account_id: accountId,
  expires_at: expiresAt,
  default_expires_at: defaultExpiresAt,
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
