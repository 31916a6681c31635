import { maskPhone } from "../core/phone.ts";
import type { StoredAccount } from "../store/accounts.ts";
import type { Finding } from "../store/previews.ts";
import type { PlannedMessage } from "../store/store.ts";
import type { Preview, PreviewedChannel } from "./preview.schema.ts";

/** Of each channel and variant. */
const SAMPLES = 3;
const MAX_SKIPS = 100;

type Sheet = Omit<Preview, "huntId" | "accountId" | "contacts" | "startsAt" | "endsAt" | "etaSeconds">;

/** Counts, in the order in which planning would. */
export function createSheet({ credits }: StoredAccount) {
  const sheet: Sheet = { send: 0, skipped: 0, byChannel: {}, byVariant: {}, reasons: {}, skips: [], samples: [] };
  const balances = new Map(credits.map(({ channel, balance }) => [channel, balance]));
  const seen = new Set<string>();
  const sampled = new Map<string, number>();

  const channelOf = (name: string): PreviewedChannel =>
    (sheet.byChannel[name] ??= {
      send: 0,
      skipped: 0,
      standby: 0,
      segments: null,
      credits: balances.has(name) ? { needed: 0, available: balances.get(name) ?? 0 } : null,
    });

  const reasonOf = (
    message: PlannedMessage,
    finding: Finding | null,
  ): { reason: string; detail: string | null } | undefined => {
    const { skip, channel, recipient } = message;
    if (finding?.reason === "planned") return { reason: "already_planned", detail: PLANNED };
    if (finding?.reason === "erased") return { reason: "suppressed", detail: null };
    if (skip !== undefined) return { reason: skip, detail: message.detail ?? null };
    if (finding?.reason === "suppressed") return finding;
    const key = `${channel} ${recipient}`;
    if (seen.has(key) || finding?.reason === "duplicate") return { reason: "duplicate", detail: null };
    seen.add(key);
    if (finding) return finding;
    const { credits: metered } = channelOf(channel);
    if (metered && ++metered.needed > metered.available) return { reason: "no_credit", detail: null };
    return undefined;
  };

  return {
    /** Whether it would be sent. */
    take(message: PlannedMessage, finding: Finding | null): boolean {
      const { channel: name, variant, adId, recipient, content } = message;
      const channel = channelOf(name);
      const reason = reasonOf(message, finding);
      const which = reason ? "skipped" : "send";
      sheet[which] += 1;
      channel[which] += 1;
      if (variant !== undefined) (sheet.byVariant[variant] ??= { send: 0, skipped: 0 })[which] += 1;
      const who = { adId: adId ?? "", channel: name, recipientPhone: maskPhone(recipient) };
      if (reason) {
        sheet.reasons[reason.reason] = (sheet.reasons[reason.reason] ?? 0) + 1;
        if (sheet.skips.length < MAX_SKIPS) sheet.skips.push({ ...who, ...reason });
        return false;
      }
      for (let { next } = message; next; { next } = next) channelOf(next.channel).standby += 1;
      const { segments, ...said } = content as Record<string, unknown>;
      const count = typeof segments === "number" ? segments : null;
      if (count !== null) {
        const { total = 0, most = 0 } = channel.segments ?? {};
        channel.segments = { total: total + count, most: Math.max(most, count) };
      }
      const key = JSON.stringify([name, variant]);
      const samples = sampled.get(key) ?? 0;
      if (samples < SAMPLES) {
        sampled.set(key, samples + 1);
        sheet.samples.push({ ...who, variant: variant ?? null, text: textIn(said), segments: count });
      }
      return true;
    },
    result: () => sheet,
  };
}

const PLANNED = "The hunt has this adId on this channel already.";

function textIn({ text, caption, question }: Record<string, unknown>): string | null {
  const said = text ?? caption ?? question;
  return typeof said === "string" ? said : null;
}
