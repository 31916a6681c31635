import type { Database } from "./database.ts";
import type { PlannedMessage } from "./messages.ts";
import type { Windows } from "./submissions.ts";

/** A chunk of a submission, as the plan job finds it. `contacts` is null once the whole submission is planned. */
export interface Chunk {
  huntId: string;
  accountId: string;
  expiresAt: string;
  defaultCountry: string;
  /** The account's, as the ledger has it. */
  policy?: unknown;
  consentDeclared?: boolean;
  /** What the submission says to contacts without a message, as `NewHunt` had it. */
  content?: unknown;
  sendAt?: string | null | undefined;
  windows?: Windows | null | undefined;
  contacts: unknown[] | null;
}

/** Submissions on their way from contacts to messages, chunk by chunk. */
export interface PlanStore {
  readChunk(jobId: string, no: number): Promise<Chunk | undefined>;
  /** Answers the ids of the messages that are to be queued. */
  planChunk(jobId: string, no: number, huntId: string, messages: PlannedMessage[]): Promise<Set<string>>;
  finishSubmission(jobId: string): Promise<void>;
  /** Submissions that are not planned to the end, with the numbers of their chunks that are not. */
  openSubmissions(olderThanMs: number): Promise<{ jobId: string; huntId: string; chunks: number; open: number[] }[]>;
}

export function createPlanStore(
  { rpc, rpcRaw }: Pick<Database, "rpc" | "rpcRaw">,
  toMessageRow: (message: PlannedMessage) => object,
): PlanStore {
  return {
    async readChunk(jobId, no) {
      return (await rpc<Chunk | null>("read_chunk", { p_job_id: jobId, p_no: no })) ?? undefined;
    },
    async planChunk(jobId, no, huntId, messages) {
      const rows = messages.map(toMessageRow);
      const args = { p_job_id: jobId, p_no: no, p_hunt_id: huntId, p_rows: rows };
      return new Set(await rpcRaw<string[]>("plan_chunk", args));
    },
    finishSubmission: (jobId) => rpc("finish_submission", { p_job_id: jobId }),
    openSubmissions: (olderThanMs) => rpc("open_submissions", { p_older_than_ms: olderThanMs }),
  };
}
