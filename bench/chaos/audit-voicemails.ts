import type pg from "pg";
import { words, type Row } from "./ledger.ts";
import type { Damage } from "./trouble.ts";
import type { Accepted } from "./vendors/vendor.ts";

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
  /** Of those that were left, when the process that had answered was killed, milliseconds from when it was heard. */
  killedAfterMs: number[];
  /** The message was left, and Redis has lost what told of it. */
  lostWithRedis: number;
  /** Of messages: their call's end may be known, and they not settled accordingly. */
  excused: ReadonlySet<string>;
}

type Call = Pick<Accepted, "attemptId" | "heard" | "askedAt" | "heardAt" | "by" | "reached">;

interface Found {
  sql: pg.Pool;
  killed: Damage["killed"];
  /** What may be left. */
  heard: readonly string[];
  rows: readonly Row[];
  callsOf(row: Row): readonly Call[];
  isLostWithRedis(at: number): boolean;
}

/**
 * From an answer until Redis or the ledger has it that it has gone out (264 at most in 2,166 answers of a run), and until the double has
 * noted that it was heard, milliseconds.
 */
const KEPT_MS = 300;
const NOTED_MS = 500;

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
    killedAfterMs: [] as number[],
    lostWithRedis: 0,
  };
  const excused = new Set<string>();
  for (const row of found.rows) {
    for (const call of found.callsOf(row)) {
      const { attemptId, heard, heardAt = 0, reached = true } = call;
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
        const kill = killOf(call, found.killed);
        if (kill && heard !== "") result.killedAfterMs.push(kill.at - heardAt);
        else if (!kill && !(heard !== "" && found.isLostWithRedis(heardAt))) {
          result.untrue.push(`${words(row)}, left: ${heard !== ""}, and nobody was killed over its answer`);
        }
      }
    }
  }
  return { ...result, excused };
}

/**
 * The kill that left open whether a message was left; no other fault can. Nothing was left: a process had it known that Twilio asked,
 * and was killed before it answered. It was left: the very process that had answered was killed before it had that known.
 */
function killOf(
  { heard, askedAt = 0, heardAt = 0, by }: Call,
  killed: Found["killed"],
): Found["killed"][number] | undefined {
  if (heard === "") return killed.find(({ at }) => at >= askedAt && at <= heardAt);
  return killed.find(({ url, at }) => url === by && at > heardAt - NOTED_MS && at < heardAt + KEPT_MS);
}
