import { whatsappIdOf } from "../../src/channels/whatsapp/providers/baileys/message-id.ts";
import { creditFaults } from "./audit-credits.ts";
import { voicemailsOf, type Voicemails } from "./audit-voicemails.ts";
import { tellingOf, type Telling } from "./audit-told.ts";
import { repliesLost, reportsLost } from "./audit-webhooks.ts";
import type { Account } from "./double-process.ts";
import type { Endpoints } from "./endpoints.ts";
import type { Jobs } from "./jobs.ts";
import { HISTORY, LEDGER, settled, words, type Row } from "./ledger.ts";
import type { Promised } from "./submitter.ts";
import type { Damage } from "./trouble.ts";
import type { VendorName } from "./vendors/index.ts";
import type { Accepted } from "./vendors/vendor.ts";
import type { Watch } from "./watch.ts";
import type { Received } from "./whatsapp.ts";

/** What came of everything, by counting at the ledger, the queues and the providers. */
export interface Audit {
  accepted: number;
  states: Record<string, number>;
  /** Messages that each double accepted. */
  sends: Record<string, number>;
  lost: string[];
  /** Accepted more than once, by one provider or by several together. */
  twice: string[];
  /** The ledger says sent, and the double that it names has it not, or from another attempt. */
  phantoms: string[];
  /** A double has it, and the ledger denies it. */
  denied: string[];
  /** WhatsApp messages that arrived and could not be read on the phone. */
  unreadable: string[];
  /** WhatsApp messages that were given to it more than once, under the same id: the phone shows them once. */
  relayedAgain: number;
  /** Webhooks that were answered with a 2xx. */
  webhooks: { reports: number; replies: number };
  /** Of those, what the ledger does not know. */
  untold: string[];
  /** The same, of what Redis may have lost with its last second or all of it. */
  untoldWithRedis: { reports: number; replies: number };
  /** Webhooks of ours. */
  telling: Telling;
  voicemails: Voicemails;
  credits: string[];
  stuck: string[];
  unknown: number;
  /** Messages whose last attempt was in flight at a kill or during a fault. */
  exposed: number;
  /** Unknown, although no kill and no fault met their attempt. */
  unexplained: string[];
}

export interface Found {
  watch: Pick<Watch, "sql" | "isExposed" | "around">;
  jobs: Jobs;
  promised: Promised;
  accounts: Record<VendorName, Account>;
  whatsapp: Received[];
  endpoints: Endpoints;
  /** What may be left in a voicemail. */
  heard: readonly string[];
  redisLosses: readonly number[];
  killed: Damage["killed"];
}

type Taken = Pick<Accepted, "to" | "attemptId" | "heard" | "askedAt" | "heardAt" | "by" | "reached"> & {
  provider: string;
  told: Accepted["told"];
};

export async function audit(found: Found): Promise<Audit> {
  const { promised, accounts, watch } = found;
  const { rows } = await watch.sql.query<Row>(LEDGER);
  const byId = new Map(rows.map((row) => [row.id, row]));
  const real = rows.filter(dialled);

  // Every person has a number of their own, so that all that has reached it is one message, whoever carried it.
  const vendors: Taken[] = Object.entries(accounts).flatMap(([provider, { accepted }]) =>
    accepted.map((each) => ({ ...each, provider })),
  );
  const byNumber = Map.groupBy(vendors, ({ to }) => to);
  const onWhatsApp = Map.groupBy(found.whatsapp, ({ to }) => to);
  const byWhatsAppId = new Map(found.whatsapp.map((message) => [message.id, message]));
  const whatsappOf = (row: Row): Received | undefined =>
    row.channel === "whatsapp_text" ? byWhatsAppId.get(whatsappIdOf(row.id)) : undefined;
  const takenOf = ({ recipient }: Row): readonly Taken[] => byNumber.get(recipient) ?? [];
  const carriersOf = (row: Row): string =>
    takenOf(row)
      .map(({ provider }) => provider)
      .join(", ") || "nobody";
  const callsOf = (row: Row): number => takenOf(row).length + (onWhatsApp.get(row.recipient)?.length ?? 0);
  const isThere = (row: Row): boolean => {
    if (row.channel === "whatsapp_text") return whatsappOf(row)?.to === row.recipient;
    return takenOf(row).some(({ provider, attemptId: id }) => provider === row.provider && id === row.attempt_id);
  };

  const exposed = ({ attempt_id: id, started_at: from, answered_at: to }: Row): boolean =>
    id !== null && watch.isExposed(id, { from, to: to ?? from });
  const unknown = rows.filter(({ status }) => status === "unknown");
  const voicemails = await voicemailsOf({
    sql: watch.sql,
    killed: found.killed,
    heard: found.heard,
    rows: real,
    callsOf: (row) => takenOf(row).filter(({ attemptId: id }) => id === row.attempt_id),
    isLostWithRedis: (at) => found.redisLosses.some((loss) => isLostWith(at, loss)),
  });
  const reported = real.filter(({ id }) => !voicemails.excused.has(id));
  const untold = [...reportsLost(reported, takenOf), ...(await repliesLost(watch.sql, accounts))];
  const withRedis = ({ at }: { at: number }): boolean => found.redisLosses.some((loss) => isLostWith(at, loss));
  const sends = Object.entries({ ...accounts, whatsapp: { accepted: found.whatsapp } });
  return {
    accepted: [...promised.hunts.values()].reduce((sum, n) => sum + n, 0) + promised.singles.size,
    states: countBy(rows, ({ status, code }) =>
      status === "skipped" || status === "failed" ? `${status}: ${code}` : status,
    ),
    sends: Object.fromEntries(sends.map(([name, { accepted }]) => [name, accepted.length])),
    lost: lostOf(rows, promised),
    twice: real
      .filter((row) => callsOf(row) > 1)
      .map((row) => `${words(row)} was accepted ${callsOf(row)} times, by ${carriersOf(row)}`),
    phantoms: real
      .filter((row) => isSent(row) && !isThere(row))
      .map((row) => `${words(row)}, ${carriersOf(row)} has it`),
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
    webhooks: {
      reports: vendors.reduce((sum, { told }) => sum + told.length, 0),
      replies: Object.values(accounts).reduce((sum, { replies }) => sum + replies.length, 0),
    },
    untold: untold.filter((each) => !withRedis(each)).map((each) => each.what),
    untoldWithRedis: {
      reports: untold.filter((each) => withRedis(each) && each.kind === "report").length,
      replies: untold.filter((each) => withRedis(each) && each.kind === "reply").length,
    },
    telling: await tellingOf(watch.sql, found.endpoints, rows),
    voicemails,
    credits: await creditFaults(watch.sql, rows),
    stuck: await found.jobs.stuck((id) => byId.get(id)?.status),
    unknown: unknown.length,
    exposed: rows.filter(exposed).length,
    unexplained: await Promise.all(unknown.filter((row) => !exposed(row)).map((row) => explained(watch, row))),
  };
}

/** With what is known of it, for whoever wants to find out why. */
async function explained(watch: Found["watch"], row: Row): Promise<string> {
  const { rows } = await watch.sql.query<{ history: string }>(HISTORY, [row.id]);
  return `${words(row)}; ${rows[0]?.history}; faults from its start, s: ${watch.around(row.started_at)}`;
}

function lostOf(rows: readonly Row[], { hunts, singles }: Promised): string[] {
  const lost = rows.filter((row) => !settled(row)).map((row) => `${words(row)} is still open`);
  const planned = Map.groupBy(rows, ({ hunt_id: hunt }) => hunt);
  for (const [hunt, contacts] of hunts) {
    const missing = contacts - (planned.get(hunt)?.length ?? 0);
    if (missing !== 0) lost.push(`${hunt}: ${missing} of ${contacts} contacts are not in the ledger`);
  }
  const ids = new Set(rows.map(({ id }) => id));
  for (const id of singles.keys()) if (!ids.has(id)) lost.push(`single send ${id} is not in the ledger`);
  return lost;
}

const isSent = ({ status, sent }: Row): boolean =>
  ["sent", "delivered", "read"].includes(status) || (status === "failed" && sent);

/** A contact that was given twice has the number of its first copy, and a bad number is nobody's. */
const dialled = ({ status, code, recipient }: Row): boolean =>
  recipient.startsWith("+") && !(status === "skipped" && code === "duplicate");

/** A webhook waits in Redis for no longer than the database is away and its job rests between two tries. */
const isLostWith = (at: number, loss: number): boolean => at > loss - 30_000 && at < loss + 5_000;

function countBy(rows: readonly Row[], name: (row: Row) => string): Record<string, number> {
  const groups = [...Map.groupBy(rows, name)].toSorted(([a], [b]) => a.localeCompare(b));
  return Object.fromEntries(groups.map(([key, of]) => [key, of.length]));
}
