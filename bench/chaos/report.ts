import { appendFileSync, existsSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { median } from "../report.ts";
import type { ChaosResult } from "./chaos.ts";

/** Examples of each fault that is printed. */
const EXAMPLES = 8;

/** What must not be: each line says one promise that was broken. Empty: the run has passed. */
export function verdict({ audit, requests, crashes, damage, quietMs }: ChaosResult): string[] {
  const broken: [string, readonly string[]][] = [
    ["lost", audit.lost],
    ["sent twice", audit.twice],
    ["sent by the ledger alone", audit.phantoms],
    ["sent, and denied by the ledger", audit.denied],
    ["not readable on the phone", audit.unreadable],
    ["webhooks taken, and forgotten", audit.untold],
    ["told to accounts wrongly or not at all", audit.telling.faults],
    ["something else left in a voicemail", audit.voicemails.misheard],
    ["voicemails of which the ledger says what is not so", audit.voicemails.untrue],
    ["credits that differ", audit.credits],
    ["jobs stuck", audit.stuck],
    ["unknown without a fault", audit.unexplained],
    ["wrong answers", requests.wrong],
    ["processes that left unasked", crashes],
    ["complaints", damage.complaints],
  ];
  const lines = broken.flatMap(([name, examples]) =>
    examples.length === 0
      ? []
      : [`${name}: ${examples.length}`, ...examples.slice(0, EXAMPLES).map((example) => `    ${example}`)],
  );
  return quietMs === undefined ? ["there was no quiet in time", ...lines] : lines;
}

/** Messages that any provider accepted. */
export const sendsOf = ({ sends }: ChaosResult["audit"]): number => Object.values(sends).reduce((sum, n) => sum + n, 0);

export function tableOf(result: ChaosResult): string {
  const { audit, damage, requests, quietMs, openMs } = result;
  const { telling, voicemails } = audit;
  const faults = Object.values(damage.faults).reduce((sum, n) => sum + n, 0);
  const rows: [string, string][] = [
    [
      "requests",
      `${requests.requests}, ${requests.repeated} repeated on purpose, ${requests.lostAnswers} answers lost`,
    ],
    ["contacts accepted", String(audit.accepted)],
    ...Object.entries(audit.states).map(([state, n]): [string, string] => [`  ${state}`, String(n)]),
    ["accepted by the providers", String(sendsOf(audit))],
    ...Object.entries(audit.sends).map(([name, n]): [string, string] => [`  ${name}`, String(n)]),
    ["kills", `${damage.kills}, ${damage.inFlightAtKills} attempts in flight, ${damage.openCallsAtKills} calls open`],
    ["other faults", String(faults)],
    ["**lost**", String(audit.lost.length)],
    ["**sent twice**", String(audit.twice.length)],
    ["**credits that differ**", String(audit.credits.length)],
    ["**jobs stuck**", String(audit.stuck.length)],
    ["unknown", `${audit.unknown}, of ${audit.exposed} messages that were in flight at a kill or fault`],
    ["ledger against providers", `${audit.phantoms.length} sent by the ledger alone, ${audit.denied.length} denied`],
    [
      "WhatsApp messages",
      `${audit.relayedAgain} given again under their id, ${audit.unreadable.length} not readable on the phone`,
    ],
    [
      "webhooks taken",
      `${audit.webhooks.reports} reports, ${audit.webhooks.replies} replies; ${audit.untold.length} forgotten, lost with Redis: ${audit.untoldWithRedis.reports} and ${audit.untoldWithRedis.replies}`,
    ],
    [
      "webhooks out",
      `${telling.events} events arrived ${telling.arrivals} times, ${telling.taken} were taken; ${telling.faults.length} faults`,
    ],
    [
      "voicemails",
      `${voicemails.misheard.length} with something else, ${voicemails.silent} with nothing (${voicemails.unreached} of them reached nobody), ${voicemails.untrue.length} told otherwise; ${voicemails.undecided} undecided (${voicemails.killedAfterMs.length} of them left, and who had answered killed after ms: ${voicemails.killedAfterMs.join(", ") || "none"}), left but lost with Redis: ${voicemails.lostWithRedis}`,
    ],
    [
      "quiet after",
      `${quietMs === undefined ? "not in time" : inSeconds(quietMs)}; last seen open: ${lastOpen(openMs)}`,
    ],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const recoveries = Object.entries(damage.recoveries)
    .toSorted(([a], [b]) => a.localeCompare(b))
    .map(([kind, times]) => [kind, damage.faults[kind] ?? damage.kills, median(times), Math.max(...times)] as const);
  const kindWidth = Math.max(...recoveries.map(([kind]) => kind.length));
  const seconds = (ms: number): string => (ms / 1000).toFixed(2).padStart(7);
  return [
    `chaos, ${result.minutes} minutes, seed ${result.seed}`,
    ...rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`),
    `  ${"seconds to the next message sent".padEnd(kindWidth)}   times   median     max`,
    ...recoveries.map(
      ([kind, times, middle, most]) =>
        `  ${kind.padEnd(kindWidth)}  ${String(times).padStart(6)}  ${seconds(middle)} ${seconds(most)}`,
    ),
  ].join("\n");
}

const inSeconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

const lastOpen = (openMs: ChaosResult["openMs"]): string =>
  Object.entries(openMs)
    .toSorted(([, a], [, b]) => a - b)
    .map(([what, ms]) => `${what} ${inSeconds(ms)}`)
    .join(", ");

/** Appends a run to the file of results. */
export function writeResult(file: string, result: ChaosResult, broken: readonly string[]): void {
  const head = existsSync(file) ? "" : "# Results\n";
  const command = `npm run chaos -- --minutes ${result.minutes} --seed ${result.seed}`;
  const memory = Math.round(totalmem() / 2 ** 30);
  const machine = `${availableParallelism()} cores, ${memory} GB, Node ${process.versions.node}`;
  const end = broken.length === 0 ? "Passed." : `Failed:\n\n${broken.map((line) => `- ${line.trim()}`).join("\n")}`;
  const text = `\n## ${new Date().toISOString().slice(0, 10)}: \`${command}\`\n\n${machine}. ${end}\n\n\`\`\`\n${tableOf(result)}\n\`\`\`\n`;
  appendFileSync(file, head + text.replaceAll("**", ""));
}
