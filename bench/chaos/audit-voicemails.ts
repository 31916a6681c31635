import type pg from "pg";
import { words, type Row } from "./ledger.ts";
import type { Accepted } from "./vendors/vendor.ts";
import type { Watch } from "./watch.ts";

/** What was left in voicemails by calls that a machine took, against what the ledger says of it. */
export interface Voicemails {
  /** Something else than the message was left. */
  misheard: string[];
  /** The ledger says that the message was left, and it was not, or the other way round. */
  untrue: string[];
  /** Nothing was left. */
  silent: number;
  /** Of those, in which Twilio reached no process at all. */
  unreached: number;
  /** Twilio has asked what to leave, and nobody knows whether it got the answer: these stay sent. */
  undecided: number;
  /** The message was left, and Redis has lost what told of it. */
  lostWithRedis: number;
  /** Of messages: their call's end may be known, and they not settled accordingly. */
  excused: ReadonlySet<string>;
}

type Call = Pick<Accepted, "attemptId" | "heard" | "heardAt" | "reached">;

interface Found {
  sql: pg.Pool;
  isExposed: Watch["isExposed"];
  /** What may be left. */
  heard: readonly string[];
  rows: readonly Row[];
  callsOf(row: Row): readonly Call[];
  isLostWithRedis(at: number): boolean;
}

/** An answer meets a fault if there was one so long before it was heard, milliseconds. */
const ANSWER_MS = 1000;

export async function voicemailsOf(found: Found): Promise<Voicemails> {
  const { rows: asked } = await found.sql.query<{ attempt_id: string }>(
    "select attempt_id from voicemail_instructions where not answered",
  );
  const unanswered = new Set(asked.map(({ attempt_id: id }) => id));
  const result = {
    misheard: [] as string[],
    untrue: [] as string[],
    silent: 0,
    unreached: 0,
    undecided: 0,
    lostWithRedis: 0,
  };
  const excused = new Set<string>();
  for (const row of found.rows) {
    for (const { attemptId, heard, heardAt = 0, reached = true } of found.callsOf(row)) {
      if (heard === undefined) continue;
      if (heard === "") {
        result.silent += 1;
        if (!reached) result.unreached += 1;
      } else if (!found.heard.includes(heard)) {
        result.misheard.push(`attempt ${attemptId}: a machine recorded ${JSON.stringify(heard)}`);
      }
      if (heard === "" && /^(delivered|read)$/.test(row.status)) {
        result.untrue.push(`${words(row)}, and nothing was left`);
      } else if (heard !== "" && row.code === "twilio_no_instructions") {
        if (found.isLostWithRedis(heardAt)) {
          result.lostWithRedis += 1;
          excused.add(row.id);
        } else result.untrue.push(`${words(row)}, and it was left`);
      } else if (row.status === "sent" && unanswered.has(attemptId)) {
        result.undecided += 1;
        excused.add(row.id);
        if (
          !found.isExposed(attemptId, { from: heardAt - ANSWER_MS, to: heardAt }) &&
          !found.isLostWithRedis(heardAt)
        ) {
          result.untrue.push(`${words(row)}, and no fault met the answer to what was to be left`);
        }
      }
    }
  }
  return { ...result, excused };
}
