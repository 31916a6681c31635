import { setTimeout as delay } from "node:timers/promises";
import { dealFaults, type FaultContext } from "./faults.ts";
import type { Watch } from "./watch.ts";

/** What was done to the system, and how it came back. */
export interface Damage {
  kills: number;
  /** Attempts in flight at the kills, and calls of providers that were open then. */
  inFlightAtKills: number;
  openCallsAtKills: number;
  faults: Record<string, number>;
  /** Milliseconds from the dependency's return to the first message sent, by kind. */
  recoveries: Record<string, number[]>;
  /** When Redis died with whatever it had not written, milliseconds since the epoch. */
  redisLosses: number[];
  /** Which process was killed, by its address, and when, milliseconds since the epoch. */
  killed: { url: string; at: number }[];
  /** What a process or server did that it must not. */
  complaints: string[];
}

export interface TroubleOptions extends FaultContext {
  watch: Watch;
  say(line: string): void;
}

/** On average. */
const BETWEEN_KILLS_MS = 2000;
/** A process lives for at least a random part of it: on a busy machine it would else die before it has begun to work. */
const LEAST_LIFE_MS = 2000;
const BETWEEN_FAULTS_MS = 1500;
/** A recovery that takes longer is noted with this figure. */
const RECOVERY_LIMIT_MS = 30_000;

/** Two independent kinds of trouble at once: processes that are killed, and everything else that can go wrong. */
export async function makeTrouble(options: TroubleOptions): Promise<Damage> {
  const { slots, watch, random, signal, say } = options;
  const damage: Damage = {
    kills: 0,
    inFlightAtKills: 0,
    openCallsAtKills: 0,
    faults: {},
    recoveries: {},
    redisLosses: [],
    killed: [],
    complaints: [],
  };
  const measured = async (kind: string, channels: Parameters<Watch["recovery"]>[0]): Promise<void> => {
    const ms = await watch.recovery(channels, RECOVERY_LIMIT_MS, signal);
    if (ms !== undefined) (damage.recoveries[kind] ??= []).push(Math.round(ms));
  };
  const recoveries = new Set<Promise<void>>();

  async function kills(): Promise<void> {
    const chance = random.fork("kills");
    while (!signal.aborted) {
      await delay(-Math.log(1 - chance.unit()) * BETWEEN_KILLS_MS, undefined, { signal }).catch(() => {});
      const bornBefore = performance.now() - chance.between(0, LEAST_LIFE_MS);
      const slot = chance.pick(slots.filter(({ state, upSince }) => state === "up" && upSince < bornBefore));
      if (!slot || signal.aborted) continue;
      damage.kills += 1;
      damage.killed.push({ url: slot.url, at: Date.now() });
      damage.openCallsAtKills += slot.openCalls;
      const restored = watch.disturbed();
      const killed = slot
        .kill(() => {
          restored();
          watch.snapshot().then(
            (inFlight) => (damage.inFlightAtKills += inFlight),
            () => {},
          );
        })
        .then(() => measured("service: kill -9", ["sms", "whatsapp_text", "ringless_voice"]));
      recoveries.add(killed);
      killed.then(
        () => recoveries.delete(killed),
        (error: unknown) => damage.complaints.push(String(error)),
      );
    }
  }

  async function faults(): Promise<void> {
    const chance = random.fork("faults");
    let hand = dealFaults({ ...options, random: chance });
    while (!signal.aborted) {
      await delay(chance.between(0, 2 * BETWEEN_FAULTS_MS), undefined, { signal }).catch(() => {});
      if (signal.aborted) break;
      if (hand.length === 0) hand = dealFaults({ ...options, random: chance });
      const fault = hand.pop();
      if (!fault) continue;
      damage.faults[fault.kind] = (damage.faults[fault.kind] ?? 0) + 1;
      say(`${fault.kind} (${watch.open} open)`);
      const restored = watch.disturbed();
      if (fault.kind.startsWith("redis: kill")) damage.redisLosses.push(Date.now());
      const complaint = await fault.run().finally(restored);
      if (complaint) damage.complaints.push(complaint);
      await measured(fault.kind, fault.channels);
    }
  }

  await Promise.all([kills(), faults()]);
  await Promise.allSettled(recoveries);
  return damage;
}
