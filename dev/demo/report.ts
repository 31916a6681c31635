import type { Counts, HuntStatus, Message, MessageStatus } from "../../src/client.ts";
import type { Reply } from "./ledger.ts";
import type { Screen } from "./screen.ts";

/** In words, for somebody who sees them for the first time. */
const MEANINGS: Record<string, string> = {
  delivered: "the phone has it",
  sent: "no receipt yet",
  sandbox_refused: "the provider refuses the number",
  undelivered: "accepted, but it never arrived",
  duplicate: "the hunt has this contact already",
  invalid_number: "cannot be dialled",
  suppressed: "asked not to be contacted",
  no_credit: "the account's credits are used up",
  ambiguous: "it may have left: a person decides",
};

const ALWAYS: ReadonlySet<MessageStatus> = new Set(["sent", "delivered", "failed", "skipped", "unknown"]);
const ORDER: readonly MessageStatus[] = [
  "queued",
  "sending",
  "sent",
  "delivered",
  "read",
  "failed",
  "skipped",
  "cancelled",
  "unknown",
];

/** How many of a status have each reason or code: status → why → channel → messages. */
type Whys = Map<string, Map<string, Map<string, number>>>;

function whysOf(messages: readonly Message[]): Whys {
  const whys: Whys = new Map();
  for (const { status, reason, code, channel } of messages) {
    const why = reason ?? code;
    if (why === null || !["failed", "skipped", "unknown"].includes(status)) continue;
    const ofStatus = whys.get(status) ?? new Map<string, Map<string, number>>();
    const byChannel = ofStatus.get(why) ?? new Map<string, number>();
    byChannel.set(channel, (byChannel.get(channel) ?? 0) + 1);
    whys.set(status, ofStatus.set(why, byChannel));
  }
  return whys;
}

/** What `--json` prints. `counts` sum to `total`; `reasons` are those of `skipped`, `codes` of `failed` and `unknown`. */
export function jsonOf(status: HuntStatus, messages: readonly Message[], seconds: number): Record<string, unknown> {
  const whys = whysOf(messages);
  const sums = (...statuses: string[]): Record<string, number> =>
    Object.fromEntries(statuses.flatMap((name) => [...(whys.get(name) ?? [])].map(([why, by]) => [why, sumOf(by)])));
  const { total, counts, byChannel } = status;
  return { total, counts, byChannel, reasons: sums("skipped"), codes: sums("failed", "unknown"), seconds };
}

/** The table: a column a channel, a row a status, under it its reasons or codes. At most 100 columns wide. */
export function printTable(screen: Screen, status: HuntStatus, messages: readonly Message[]): void {
  const whys = whysOf(messages);
  // In the order in which the hunt has them, which is the messages' too.
  const channels = [...new Set(messages.map(({ channel }) => channel))];
  const all = (counts: Counts): number => Object.values(counts).reduce((sum, count) => sum + count, 0);
  const widths = [...channels, "all"].map((name) => Math.max(name.length, 4) + 2);
  const row = (label: string, cells: readonly (string | number)[], meaning = ""): string =>
    [
      `  ${label.padEnd(18)}`,
      ...cells.map((cell, i) => (cell === 0 ? "–" : String(cell)).padStart(widths[i] ?? 0)),
      meaning === "" ? "" : screen.paint("dim", `   ${meaning}`),
    ].join("");

  screen.line(screen.paint("bold", row("", [...channels, "all"])));
  screen.line(row("contacts", [...channels.map((name) => all(status.byChannel[name]!)), status.total]));
  for (const name of ORDER) {
    const count = status.counts[name];
    if (count === 0 && !ALWAYS.has(name)) continue;
    const cells = [...channels.map((channel) => status.byChannel[channel]![name]), count];
    const text = row(name, cells, MEANINGS[name]);
    screen.line(count === 0 ? text : screen.paint(STYLES[name] ?? "bold", text));
    const reasons = [...(whys.get(name) ?? [])].toSorted(([, a], [, b]) => sumOf(b) - sumOf(a));
    for (const [why, by] of reasons) {
      screen.line(row(`  ${why}`, [...channels.map((channel) => by.get(channel) ?? 0), sumOf(by)], MEANINGS[why]));
    }
  }
}

const STYLES: Partial<Record<MessageStatus, "green" | "red" | "yellow">> = {
  delivered: "green",
  read: "green",
  failed: "red",
  unknown: "yellow",
};

/** What the table cannot show: tries, and what came back. */
export function printNotes(screen: Screen, messages: readonly Message[], replies: readonly Reply[]): void {
  const retried = messages.filter(({ attempts, sentAt }) => attempts > 1 && sentAt !== null).length;
  if (retried > 0) screen.line(`  ${plural(retried, "message")} got through at a later attempt.`);
  for (const [text, group] of Map.groupBy(replies, (reply) => reply.text)) {
    const stopped = group.filter(({ suppressed }) => suppressed).map(({ adId }) => adId);
    const after = stopped.length > 0 ? ` → suppressed: ${stopped.join(", ")} will not be contacted again` : "";
    screen.line(`  ${plural(group.length, "reply", "replies")}: ${text}${after}.`);
  }
}

/** Where to go on while the service runs. */
export function printAddresses(
  screen: Screen,
  at: { url: string; apiSecret: string; databaseUrl: string; logFile: string; accountId: string },
): void {
  const rows = [
    ["Console", `${at.url}/admin   the secret to enter: ${at.apiSecret}`],
    ["Bull Board", `${at.url}/admin/queues`],
    ["API docs", `${at.url}/docs`],
    ["Health", `${at.url}/health   and /ready`],
    ["Database", `psql ${at.databaseUrl}`],
    ["Log", at.logFile],
  ];
  for (const [name = "", value = ""] of rows) screen.line(`  ${screen.paint("cyan", name.padEnd(10))}  ${value}`);
  const body = JSON.stringify({ accountId: at.accountId, recipientPhone: "06 39 98 07 77", message: "Bonjour !" });
  screen.line();
  screen.line("  Send one more:");
  screen.line(`  curl -sS ${at.url}/api/phone/sms -H 'Authorization: Bearer ${at.apiSecret}' \\`);
  screen.line(`    -H 'Content-Type: application/json' -d '${body}'`);
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

function sumOf(byChannel: ReadonlyMap<string, number>): number {
  return [...byChannel.values()].reduce((sum, count) => sum + count, 0);
}
