import type { LedgerFigures } from "../store/operations.ts";
import type { AlertThresholds } from "./settings.ts";

/** Something that a person has to know. `id` is the same in all processes and as long as it lasts. */
export interface Alert {
  id: string;
  /** In words, without personal data: ids of accounts and sessions, never a number or a name. */
  text: string;
}

export interface Observed {
  /** undefined while the database does not answer: then nothing is said of what it knows. */
  ledger: LedgerFigures | undefined;
  stuck: { queue: string; waiting: number; seconds: number; by: "worker" | "nobody" }[];
  /** Those of the service's own that do not get on; `database` in place of all when it does not answer. */
  loops: { loop: string; seconds: number }[];
  /** Calls within the window. */
  calls: { channel: string; provider: string; failed: number; all: number }[];
}

const NEEDS_A_PERSON = new Set(["logged-out", "banned", "stopped"]);
const AWAY = new Set(["connecting", "backing-off"]);

/** What is wrong now. */
export function conditions({ ledger, stuck, loops, calls }: Observed, limits: AlertThresholds): Alert[] {
  const alerts: Alert[] = [];
  for (const { queue, waiting, seconds, by } of stuck) {
    if (seconds < limits.stuckSeconds) continue;
    const why = by === "worker" ? "a worker has moved none" : "no process has taken any";
    const text = `No progress: ${waiting} jobs wait in ${queue}, and ${why} for ${Math.round(seconds)} s.`;
    alerts.push({ id: `stuck:${queue}`, text });
  }
  for (const { loop, seconds } of loops) {
    if (seconds < limits.stuckSeconds) continue;
    alerts.push({ id: `stuck:${loop}`, text: `No progress for ${Math.round(seconds)} s: ${troubleOf(loop)}.` });
  }
  for (const { channel, provider, failed, all } of calls.filter((each) => isFailing(each, limits))) {
    const percent = Math.round((100 * failed) / all);
    const text = `${percent} % of ${provider}'s calls for ${channel} have failed: ${failed} of ${all} within five minutes.`;
    alerts.push({ id: `failures:${channel}:${provider}`, text });
  }
  if (!ledger) return alerts;
  if (ledger.unknown >= limits.unknown) {
    const text = `Messages of which nobody can tell whether they were sent: ${ledger.unknown}. A person has to decide.`;
    alerts.push({ id: "unknown", text });
  }
  for (const { id, accountId, state, forSeconds, held } of ledger.troubled) {
    const whose = `WhatsApp number ${id} of account ${accountId}`;
    if (NEEDS_A_PERSON.has(state))
      alerts.push({ id: `session:${id}`, text: `${whose} is ${state}: its messages wait.` });
    else if (AWAY.has(state) && forSeconds >= limits.sessionSeconds) {
      alerts.push({ id: `session:${id}`, text: `${whose} has not been online for ${forSeconds} s.` });
    }
    if (held) alerts.push({ id: `held:${id}`, text: `${whose} may not write to new people for now (463).` });
  }
  for (const { accountId, channel, balance } of limits.creditsBelow > 0 ? ledger.low : []) {
    alerts.push({
      id: `credits:${channel}:${accountId}`,
      text: `Account ${accountId} has ${balance} credits left for ${channel}.`,
    });
  }
  return alerts;
}

/** Whether enough calls say that a provider fails. */
export const isFailing = (
  { failed, all }: Observed["calls"][number],
  limits: Pick<AlertThresholds, "failureMinimum" | "failureRatio">,
) => all >= limits.failureMinimum && failed / all >= limits.failureRatio;

/** In words, what it means that a loop does not get on. */
function troubleOf(loop: string): string {
  const [name, queue] = loop.split(":");
  switch (name) {
    case "database":
      return "the database does not answer";
    case "feeder":
      return `the messages of hunts cannot be put into the queue ${queue} (see the log)`;
    case "outbox":
      return "events cannot be taken out of the outbox, so that no webhooks are sent (see the log)";
    default:
      return `the ${name} does not come to its end (see the log)`;
  }
}
