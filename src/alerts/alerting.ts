import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import type { FetchPolicy } from "../core/addresses.ts";
import type { Clock } from "../core/clock.ts";
import { UnavailableError } from "../core/errors.ts";
import { guardedPost } from "../core/guarded-post.ts";
import type { LedgerFigures } from "../store/operations.ts";
import { conditions, type Alert, type Observed } from "./conditions.ts";
import { createFailures } from "./failures.ts";
import type { AlertLedger, Tidings } from "./ledger.ts";
import type { AlertSettings } from "./settings.ts";

export interface AlertingOptions {
  settings: AlertSettings;
  ledger: AlertLedger;
  figures(creditsBelow: number): Promise<LedgerFigures>;
  stuck(): Promise<Observed["stuck"]>;
  loops(): Promise<Observed["loops"]>;
  /** Calls of providers so far, by this process. */
  calls(): Promise<Observed["calls"]>;
  fetchPolicy: FetchPolicy | undefined;
  clock: Clock;
  log: Logger;
}

export interface Alerting {
  stop(): Promise<void>;
}

interface News {
  alert: Alert;
  tidings: keyof Tidings;
}

const SIGNS = { raised: ":red_circle:", over: ":large_green_circle: Over:" };
/** Lines of one message, which Slack takes up to 40,000 characters of; the others come with the next look. */
const MOST_AT_ONCE = 50;
/** The share of calls that fail is that of so long, milliseconds. */
const WINDOW_MS = 300_000;
const TIMEOUTS = { connectMs: 5000, idleMs: 5000, totalMs: 10_000 };
/** A telling that hangs is not waited for at the end, milliseconds: another process takes it over. */
const STOP_TIMEOUT_MS = 1000;

/**
 * Looks from time to time whether something is wrong, and tells people of it once, however many processes see it; and once
 * that it is over. Does nothing without an address.
 */
export function startAlerting(options: AlertingOptions): Alerting {
  const { settings, ledger, fetchPolicy, clock, log } = options;
  const { url } = settings;
  if (url === undefined) return { stop: async () => {} };
  const stopping = new AbortController();
  const judged = createFailures(settings);
  const past: { at: number; calls: Observed["calls"] }[] = [];

  async function callsInWindow(): Promise<Observed["calls"]> {
    const now = clock.monotonic();
    const calls = await options.calls();
    past.push({ at: now, calls });
    while (past.length > 2 && now - past[1]!.at >= WINDOW_MS) past.shift();
    const before = past.length > 1 && now - past[0]!.at >= WINDOW_MS ? past[0]!.calls : [];
    const recent = calls.map((each) => {
      const then = before.find(({ channel, provider }) => channel === each.channel && provider === each.provider);
      return { ...each, failed: each.failed - (then?.failed ?? 0), all: each.all - (then?.all ?? 0) };
    });
    return judged(recent);
  }

  async function look(): Promise<void> {
    const [figures, stuck, loops, calls] = await Promise.allSettled([
      options.figures(settings.creditsBelow),
      options.stuck(),
      options.loops(),
      callsInWindow(),
    ]);
    const observed = {
      ledger: valueOf(figures),
      stuck: valueOf(stuck) ?? [],
      loops: valueOf(loops) ?? [],
      calls: valueOf(calls) ?? [],
    };
    const { raised, over } = await ledger.report(conditions(observed, settings), observed.ledger === undefined);
    const news = [
      ...raised.map((alert): News => ({ alert, tidings: "raised" })),
      ...over.map((alert): News => ({ alert, tidings: "over" })),
    ];
    if (news.length > 0) await tell(news.slice(0, MOST_AT_ONCE));
    for (const { alert, tidings } of news.slice(MOST_AT_ONCE)) await ledger.untold(alert, tidings);
  }

  /** In one message: many alerts, each of which waits for an address that hangs, would outlast what their claims last. */
  async function tell(news: readonly News[]): Promise<void> {
    const lines = news.map(({ alert, tidings }) => `${SIGNS[tidings]} ${alert.text}`);
    try {
      const { status } = await guardedPost(url!, {
        headers: { "content-type": "application/json", "user-agent": "auto-prospect" },
        body: JSON.stringify({ text: escaped(lines.join("\n")) }),
        maxAnswerBytes: 1000,
        timeouts: TIMEOUTS,
        policy: fetchPolicy,
      });
      if (status < 200 || status > 299) throw new Error(`ALERT_WEBHOOK_URL answers with status ${status}`);
    } catch (error) {
      log.warn({ err: error, alerts: news.map(({ alert }) => alert.id) }, "could not tell of alerts");
      for (const { alert, tidings } of news) await ledger.untold(alert, tidings);
      return;
    }
    for (const { alert, tidings } of news) {
      log.warn({ alert: alert.id }, tidings === "raised" ? "alert" : "alert is over");
      await ledger.told(alert, tidings);
    }
  }

  const running = (async () => {
    while (!stopping.signal.aborted) {
      await look().catch((error: unknown) => {
        if (error instanceof UnavailableError) log.debug({ err: error }, "looking for what is wrong put off");
        else log.error({ err: error }, "looking for what is wrong failed");
      });
      await delay(settings.intervalMs, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  })();

  return {
    async stop() {
      stopping.abort();
      await Promise.race([running, delay(STOP_TIMEOUT_MS, undefined, { ref: false })]);
    },
  };
}

/** What Slack's markup would take for more than text: https://api.slack.com/reference/surfaces/formatting#escaping */
const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

const valueOf = <T>(result: PromiseSettledResult<T>): T | undefined =>
  result.status === "fulfilled" ? result.value : undefined;
