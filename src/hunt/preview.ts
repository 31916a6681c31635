import type { Clock } from "../core/clock.ts";
import { countryOf, maskPhone } from "../core/phone.ts";
import type { Rules } from "../core/rules.ts";
import type { StoredAccount } from "../store/accounts.ts";
import type { Finding, HuntTerms, PreviewStore } from "../store/previews.ts";
import type { Chunk, PlannedMessage, Windows } from "../store/store.ts";
import type { HuntHead } from "./body.ts";
import type { Contact } from "./contacts.ts";
import { planChunk, type PlanChannels, type Ways } from "./plan.ts";
import { endOf, type DayBudget, type Wave } from "./schedule.ts";
import { withTimes } from "./timing.ts";
import type { Preview, PreviewedChannel } from "./preview.schema.ts";

export interface PreviewDeps {
  previews: Pick<PreviewStore, "judge" | "used">;
  channels: PlanChannels;
  rules: Rules;
  /** Who would send it, and how fast that one may, by the account's limits as well; undefined: nobody can tell. */
  paceOf(
    channel: string,
    sender: string | undefined,
    limits: unknown,
  ): { sender: string; perSecond: number } | undefined;
  /** What the account's limits allow a sender a day. */
  dayLimitsOf(
    channel: string,
    sender: string | undefined,
    limits: unknown,
  ): { scope: string; perDay: number; timeZone: string }[];
  clock: Clock;
}

/** Contacts planned between two turns of the event loop, and messages looked up in one call. */
const SLICE = 100;
const PAGE = 1000;
/** Of each channel and variant. */
const SAMPLES = 3;
const MAX_SKIPS = 100;
const WEEK_MS = 7 * 86_400_000;

/** A preview that is being made of contacts as they come. */
export interface PreviewMaker {
  /** The next contacts, in their order. Rejects with `UnavailableError`. */
  take(contacts: readonly Contact[]): Promise<void>;
  /** Of all that were taken, by the hunt's head once all of its contacts have been read. Rejects with `UnavailableError`. */
  result(hunt: HuntHead): Promise<Preview>;
}

/**
 * What would become of a hunt that was submitted now, or added to one that there is. Writes nothing, and holds no contacts: counts,
 * samples, and who would get something already. Rejects with `UnavailableError`.
 */
export async function createPreview(
  hunt: HuntHead,
  account: StoredAccount,
  deps: PreviewDeps,
  terms?: HuntTerms,
): Promise<PreviewMaker> {
  const { huntId, accountId } = hunt;
  const now = deps.clock.now();
  const { policy, consentDeclared, defaultCountry } = account;
  const { content, sendAt } = hunt;
  const windows = terms ? terms.windows : hunt.windows;
  const own = { huntId, accountId, content, sendAt, windows, contacts: null };
  // Who is planned ends with the hunt, which a preview tells of once.
  const chunk: Chunk = {
    ...own,
    expiresAt: new Date(now + WEEK_MS).toISOString(),
    policy,
    consentDeclared,
    defaultCountry,
  };
  const sheet = createSheet(account);
  const times = createTimes(chunk, account.limits, await deps.previews.used(accountId), now, deps);
  const ways: Ways = new Map();
  let contacts = 0;
  let page: PlannedMessage[] = [];
  // One page is looked up while the next is planned; they are counted in their order.
  let judging = Promise.resolve();

  const judge = async (page: readonly PlannedMessage[]): Promise<void> => {
    const findings = await deps.previews.judge(page);
    page.forEach((message, i) => {
      if (sheet.take(message, findings[i] ?? null)) times.take(message);
    });
  };
  const turn = async (): Promise<void> => {
    await judging;
    judging = judge(page);
    page = [];
    // Whatever it rejects with is thrown where it is awaited.
    judging.catch(() => undefined);
  };

  return {
    async take(given) {
      contacts += given.length;
      for (let i = 0; i < given.length; i += SLICE) {
        const slice = given.slice(i, i + SLICE);
        page.push(
          ...withTimes(planChunk(chunk, slice, deps.channels, deps.rules, ways), slice, chunk, () => undefined),
        );
        if (page.length >= PAGE) await turn();
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
    async result({ expiresAt, defaultExpiresAt }) {
      if (page.length > 0) await turn();
      await judging;
      const end = terms?.expiresAt ?? expiresAt ?? defaultExpiresAt ?? chunk.expiresAt;
      return { huntId, accountId, contacts, ...sheet.result(), ...times.result(Date.parse(end)) };
    },
  };
}

type Sheet = Omit<Preview, "huntId" | "accountId" | "contacts" | "startsAt" | "endsAt" | "etaSeconds">;

/** Counts, in the order in which planning would. */
function createSheet({ credits }: StoredAccount) {
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

type Times = Pick<Preview, "startsAt" | "endsAt" | "etaSeconds">;

/** When they would be sent: messages of one sender wait for one another, and all for their hours and their limits a day. */
function createTimes(
  { policy, windows: given }: Chunk,
  limits: unknown,
  used: readonly { scope: string; day: string; used: number }[],
  now: number,
  { channels, rules, paceOf, dayLimitsOf }: PreviewDeps,
) {
  const windows = given ?? undefined;
  const waves = new Map<string, Wave>();
  const budgets = new Map<string, DayBudget>();
  const speeds = new Map<string, { sender: string; perSecond: number; days: DayBudget[] }>();
  let startsInMs = Infinity;
  let known = true;

  const speedOf = (channel: string, sender: string | undefined) => {
    const key = JSON.stringify([channel, sender]);
    let speed = speeds.get(key);
    if (!speed) {
      const days = dayLimitsOf(channel, sender, limits).map(({ scope, perDay, timeZone }) => {
        const taken = used.filter((each) => each.scope === scope).map((each) => [each.day, each.used] as const);
        const budget = budgets.get(scope) ?? { perDay, timeZone, used: new Map(taken) };
        budgets.set(scope, budget);
        return budget;
      });
      const pace = paceOf(channel, sender, limits);
      // Who is held back by the day alone is as fast as can be within it.
      known &&= pace !== undefined;
      speed = { ...(pace ?? { sender: `from ${sender ?? "any"}`, perSecond: Infinity }), days };
      speeds.set(key, speed);
    }
    return speed;
  };
  return {
    take({ channel, recipient, sender, sendAt }: PlannedMessage): void {
      const kind = channels.get(channel)?.channel.queue ?? "sms";
      const notBefore = sendAt === undefined ? -Infinity : Date.parse(sendAt);
      const opensInMs = (at: number): number | undefined => {
        const from = Math.max(at, notBefore);
        const ruling = rules({ policy, consent: undefined, recipient, kind, at: from, windows });
        return ruling.skip ? undefined : from - at + (ruling.opensInMs ?? 0);
      };
      const opens = opensInMs(now) ?? Infinity;
      startsInMs = Math.min(startsInMs, opens);
      const pace = speedOf(channel, sender);
      const key = JSON.stringify([kind, pace.sender, opens, countryOf(recipient)]);
      const wave = waves.get(key);
      if (wave) wave.count += 1;
      else waves.set(key, { ...pace, sender: `${kind} ${pace.sender}`, count: 1, opensInMs });
    },
    result(expiresAt: number): Times {
      if (startsInMs === Infinity) return { startsAt: null, endsAt: null, etaSeconds: null };
      const startsAt = new Date(now + startsInMs).toISOString();
      const all = [...waves.values()];
      const undated = all.map((wave) => ({ ...wave, days: [] }));
      const soonest = windows?.spread ? spreadUntil(windows) : endOf(now, expiresAt, undated);
      const paced = endOf(now, expiresAt, all);
      // Whose pace nobody knows has an end only where its limits a day put it off.
      const told = windows?.spread || (paced !== undefined && (known || paced > (soonest ?? Infinity)));
      if (!told || soonest === undefined) return { startsAt, endsAt: null, etaSeconds: null };
      const end = Math.max(soonest, paced ?? 0);
      const endsAt = Math.max(now, Math.min(end, expiresAt));
      return { startsAt, endsAt: new Date(endsAt).toISOString(), etaSeconds: Math.ceil((endsAt - now) / 1000) };
    },
  };
}

/** Without an end of its own it depends on when its windows are open, and on its senders. */
const spreadUntil = ({ until }: Windows): number | undefined => (until === undefined ? undefined : Date.parse(until));
