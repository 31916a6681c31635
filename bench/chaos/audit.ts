import type pg from "pg";
import { whatsappIdOf } from "../../src/channels/whatsapp/providers/baileys/message-id.ts";
import type { FakeTwilioMessage } from "../../test/fakes/twilio/fake-twilio.ts";
import { ACCOUNTS } from "./bodies.ts";
import type { Accepted } from "./double-process.ts";
import type { Jobs } from "./jobs.ts";
import type { Received } from "./whatsapp.ts";
import type { Promised } from "./submitter.ts";

/** What came of everything, by counting at the ledger, the queues and the providers. */
export interface Audit {
  accepted: number;
  states: Record<string, number>;
  /** Calls that the doubles accepted. */
  sends: number;
  lost: string[];
  twice: string[];
  /** The ledger says sent, and no double has it. */
  phantoms: string[];
  /** A double has it, and the ledger denies it. */
  denied: string[];
  /** WhatsApp messages that arrived and could not be read on the phone. */
  unreadable: string[];
  /** WhatsApp messages that were given to it more than once, under the same id: the phone shows them once. */
  relayedAgain: number;
  credits: string[];
  stuck: string[];
  unknown: number;
  /** Messages whose last attempt was in flight at a kill or during a fault. */
  exposed: number;
  /** Unknown, although no kill and no fault met their attempt. */
  unexplained: string[];
}

interface Row {
  id: string;
  hunt_id: string | null;
  account_id: string | null;
  channel: string;
  recipient: string;
  status: string;
  code: string | null;
  credit: string;
  attempts: number;
  attempt_id: string | null;
  /** Milliseconds since the epoch. */
  started_at: number;
  sent: boolean;
}

const LEDGER = `select id, hunt_id, account_id, channel, recipient, status, code, credit, attempts, attempt_id,
  extract(epoch from attempt_started_at)::float * 1000 as started_at, sent_at is not null as sent from messages`;

export async function audit(found: {
  sql: pg.Pool;
  jobs: Jobs;
  promised: Promised;
  isExposed(attemptId: string, startedAt: number): boolean;
  twilio: FakeTwilioMessage[];
  tagged: Accepted[];
  whatsapp: Received[];
}): Promise<Audit> {
  const { promised } = found;
  const { rows } = await found.sql.query<Row>(LEDGER);
  const byId = new Map(rows.map((row) => [row.id, row]));
  const settled = ({ status }: Row): boolean => status !== "queued" && status !== "sending";

  const lost = rows.filter((row) => !settled(row)).map((row) => `${words(row)} is still open`);
  const planned = Map.groupBy(rows, ({ hunt_id: hunt }) => hunt);
  for (const [hunt, contacts] of promised.hunts) {
    const missing = contacts - (planned.get(hunt)?.length ?? 0);
    if (missing !== 0) lost.push(`${hunt}: ${missing} of ${contacts} contacts are not in the ledger`);
  }
  for (const id of promised.singles.keys()) if (!byId.has(id)) lost.push(`single send ${id} is not in the ledger`);

  const taken = new Map<string, number>();
  const take = (key: string): void => void taken.set(key, (taken.get(key) ?? 0) + 1);
  for (const { to } of found.twilio) take(to);
  for (const { messageId } of found.tagged) take(messageId);
  for (const { to } of found.whatsapp) take(to);
  const byWhatsAppId = new Map(found.whatsapp.map((message) => [message.id, message]));
  const callsOf = (row: Row): number => taken.get(row.channel === "ringless_voice" ? row.id : row.recipient) ?? 0;
  const whatsappOf = (row: Row): Received | undefined =>
    row.channel === "whatsapp_text" ? byWhatsAppId.get(whatsappIdOf(row.id)) : undefined;
  const isMissing = (row: Row): boolean =>
    callsOf(row) === 0 || (row.channel === "whatsapp_text" && whatsappOf(row)?.to !== row.recipient);
  const real = rows.filter(dialled);
  const isSent = ({ status, sent }: Row): boolean =>
    ["sent", "delivered", "read"].includes(status) || (status === "failed" && sent);

  const credits = await creditFaults(found.sql, rows);
  const exposed = ({ attempt_id: id, started_at: at }: Row): boolean => id !== null && found.isExposed(id, at);
  const unknown = rows.filter(({ status }) => status === "unknown");
  return {
    accepted: [...promised.hunts.values()].reduce((sum, n) => sum + n, 0) + promised.singles.size,
    states: countBy(rows, ({ status, code }) =>
      status === "skipped" || status === "failed" ? `${status}: ${code}` : status,
    ),
    sends: found.twilio.length + found.tagged.length + found.whatsapp.length,
    lost,
    twice: real.filter((row) => callsOf(row) > 1).map((row) => `${words(row)} was accepted ${callsOf(row)} times`),
    phantoms: real.filter((row) => isSent(row) && isMissing(row)).map((row) => `${words(row)}, no provider has it`),
    denied: real
      .filter((row) => callsOf(row) > 0 && !isSent(row) && row.status !== "unknown")
      .map((row) => `${words(row)}, a provider has it`),
    unreadable: real.flatMap((row) => {
      const message = whatsappOf(row);
      return message && message.text === undefined
        ? [`${words(row)}, ${message.relays} relays, ${message.undecryptable} of them unreadable`]
        : [];
    }),
    relayedAgain: found.whatsapp.filter(({ relays }) => relays > 1).length,
    credits: [
      ...credits,
      ...rows.filter((row) => !creditFits(row)).map((row) => `${words(row)}, credit ${row.credit}`),
    ],
    stuck: await found.jobs.stuck((id) => byId.get(id)?.status),
    unknown: unknown.length,
    exposed: rows.filter(exposed).length,
    unexplained: unknown.filter((row) => !exposed(row)).map(words),
  };
}

function countBy(rows: readonly Row[], name: (row: Row) => string): Record<string, number> {
  const groups = [...Map.groupBy(rows, name)].toSorted(([a], [b]) => a.localeCompare(b));
  return Object.fromEntries(groups.map(([key, of]) => [key, of.length]));
}

const words = ({ id, channel, status, code, attempts }: Row): string =>
  `${channel} ${id}: ${status}${code ? ` (${code})` : ""}, ${attempts} attempts`;

/** A contact that was given twice has the number of its first copy, and a bad number is nobody's. */
const dialled = ({ status, code, recipient }: Row): boolean =>
  recipient.startsWith("+") && !(status === "skipped" && code === "duplicate");

function creditFits({ credit, status, sent, account_id: account }: Row): boolean {
  const metered = account !== null && ACCOUNTS[account] !== undefined;
  if (!metered) return credit === "none";
  if (status === "skipped") return credit === "none" || credit === "released";
  if (status === "unknown") return credit === "reserved";
  if (status === "failed" && !sent) return credit === "released";
  return credit === "spent";
}

async function creditFaults(sql: pg.Pool, messages: readonly Row[]): Promise<string[]> {
  const { rows } = await sql.query<{
    account_id: string;
    channel: string;
    balance: number;
    reserved: number;
    spent: number;
  }>("select account_id, channel, balance::int, reserved::int, spent::int from credits");
  return rows.flatMap(({ account_id: account, channel, balance, reserved, spent }) => {
    const own = messages.filter((row) => row.account_id === account && row.channel === channel);
    const count = (credit: string): number => own.filter((row) => row.credit === credit).length;
    const [initial, due, gone] = [ACCOUNTS[account], count("reserved"), count("spent")];
    if (reserved === due && spent === gone && balance + reserved + spent === initial) return [];
    return [
      `${account} ${channel}: balance ${balance}, reserved ${reserved}, spent ${spent}; the messages say reserved ${due}, spent ${gone}, of ${initial}`,
    ];
  });
}
