import type pg from "pg";
import type { Account } from "./double-process.ts";
import { words, type Row } from "./ledger.ts";
import type { Accepted, Reported } from "./vendors/vendor.ts";

/** Something that a vendor has told us, and that the ledger does not know; `at`: when we said that we had it. */
export interface Untold {
  kind: "report" | "reply";
  what: string;
  at: number;
}

const SHOWN: Record<Reported, readonly string[]> = {
  sent: ["sent", "delivered", "read", "failed"],
  delivered: ["delivered", "read"],
  failed: ["failed"],
};

export function reportsLost(rows: readonly Row[], takenOf: (row: Row) => readonly Pick<Accepted, "told">[]): Untold[] {
  return rows.flatMap((row) =>
    takenOf(row).flatMap(({ told }) =>
      told.flatMap(({ status, at }) =>
        SHOWN[status].includes(row.status)
          ? []
          : [{ kind: "report" as const, what: `${words(row)}, and was told: ${status}`, at }],
      ),
    ),
  );
}

/** Replies that are not there once, and stops that have stopped nobody. */
export async function repliesLost(sql: pg.Pool, accounts: Record<string, Account>): Promise<Untold[]> {
  const { rows } = await sql.query<{ key: string; n: number }>(
    "select provider || ' ' || provider_reply_id as key, count(*)::int as n from replies group by 1",
  );
  const stored = new Map(rows.map(({ key, n }) => [key, n]));
  const { rows: stops } = await sql.query<{ phone: string }>("select distinct phone from suppressions");
  const stopped = new Set(stops.map(({ phone }) => phone));
  return Object.values(accounts).flatMap(({ replies }) =>
    replies.flatMap(({ provider, id, from, stop, at }) => {
      const times = stored.get(`${provider} ${id}`) ?? 0;
      const what = `${provider}: reply ${id}`;
      const kind = "reply" as const;
      if (times !== 1) return [{ kind, what: `${what} is there ${times} times`, at }];
      return stop && !stopped.has(from) ? [{ kind, what: `${what} was a STOP, and has stopped nobody`, at }] : [];
    }),
  );
}
