import type pg from "pg";
import { ACCOUNTS } from "./bodies.ts";
import { words, type Row } from "./ledger.ts";

/** Balances that differ from what the messages say, and messages whose credit does not fit their state. */
export async function creditFaults(sql: pg.Pool, messages: readonly Row[]): Promise<string[]> {
  const { rows } = await sql.query<{
    account_id: string;
    channel: string;
    balance: number;
    reserved: number;
    spent: number;
  }>("select account_id, channel, balance::int, reserved::int, spent::int from credits");
  const balances = rows.flatMap(({ account_id: account, channel, balance, reserved, spent }) => {
    const own = messages.filter((row) => row.account_id === account && row.channel === channel);
    const count = (credit: string): number => own.filter((row) => row.credit === credit).length;
    const [initial, due, gone] = [ACCOUNTS[account], count("reserved"), count("spent")];
    if (reserved === due && spent === gone && balance + reserved + spent === initial) return [];
    return [
      `${account} ${channel}: balance ${balance}, reserved ${reserved}, spent ${spent}; the messages say reserved ${due}, spent ${gone}, of ${initial}`,
    ];
  });
  return [...balances, ...messages.filter((row) => !fits(row)).map((row) => `${words(row)}, credit ${row.credit}`)];
}

function fits({ credit, status, sent, account_id: account }: Row): boolean {
  const metered = account !== null && ACCOUNTS[account] !== undefined;
  if (!metered) return credit === "none";
  if (status === "skipped") return credit === "none" || credit === "released";
  if (status === "unknown") return credit === "reserved";
  if (status === "failed" && !sent) return credit === "released";
  return credit === "spent";
}
