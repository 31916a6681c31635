import { setTimeout as delay } from "node:timers/promises";
import type { Random } from "../random.ts";
import type { Accepted, Replied, Reported, Vendor } from "./vendor.ts";

/** Where the vendors believe the service to be, whichever of its processes answers. */
export const PUBLIC_URL = "https://worker.chaos.example";

const SHARE_OF_SILENCE = 0.1;
const SHARE_OF_FAILURES = 0.03;
const SHARE_OF_LATE = 0.1;
const SHARE_OF_TWICE = 0.15;
const SHARE_OF_REPLIES = 0.03;
const SHARE_OF_STOPS = 0.3;
/** A report may well come before its sender has been answered. */
const SOON_MS = 1500;
const LATE_MS = 8000;
/** Vendors call again, for hours; here until everything has been back for long. */
const AGAIN_MS = 400;
const GIVE_UP_MS = 60_000;

/** Starts a vendor; what it has to report goes through the postman. */
export type StartVendor = (postman: Postman) => Promise<Vendor>;

/** Brings what vendors report: soon, late, twice, in the wrong order or never, and again until it is taken. */
export class Postman {
  readonly replies: Replied[] = [];
  /** Answers that no rightly signed webhook may have. */
  readonly faults: string[] = [];
  /** Calls that are still to be made, or to be made again. */
  pending = 0;
  readonly #random: Random;
  #services: readonly string[] = [];
  #turn = 0;
  readonly #hurry = new AbortController();

  constructor(random: Random) {
    this.#random = random;
  }

  /** The processes that answer at the public address. */
  reach(services: readonly string[]): void {
    this.#services = services;
  }

  /** Brings at once what was to come late. */
  hurry(): void {
    this.#hurry.abort();
  }

  /** In turns, as a load balancer does it: who calls again reaches another one. */
  readonly via = (address: string): string => {
    this.#turn += 1;
    return address.replace(PUBLIC_URL, this.#services[this.#turn % this.#services.length] ?? "");
  };

  /** Whether a message that was accepted is reported as failed later. */
  get fails(): boolean {
    return this.#random.chance(SHARE_OF_FAILURES);
  }

  /** A time up to so many milliseconds. */
  within(ms: number): Promise<void> {
    return delay(this.#random.between(0, ms));
  }

  /** What follows on something that takes its time, and must not fail. */
  after<T>(work: Promise<T>, then: (result: T) => void): void {
    this.pending += 1;
    work.then(then, (error: unknown) => this.faults.push(String(error))).finally(() => (this.pending -= 1));
  }

  /** `call` resolves with the status that we answer. */
  report(of: Accepted, status: Reported, call: () => Promise<number>): void {
    if (this.#random.chance(SHARE_OF_SILENCE)) return;
    this.#bring(call, () => of.told.push({ status, at: Date.now() }));
  }

  /** Now and then the person writes back. */
  reply(
    provider: string,
    id: string,
    from: string,
    call: (what: { id: string; text: string }) => Promise<number>,
  ): void {
    if (!this.#random.chance(SHARE_OF_REPLIES)) return;
    const stop = this.#random.chance(SHARE_OF_STOPS);
    const text = stop ? "STOP" : "Oui, toujours disponible.";
    this.#bring(
      () => call({ id, text }),
      () => this.replies.push({ provider, id, from, stop, at: Date.now() }),
    );
  }

  #bring(call: () => Promise<number>, taken: () => void): void {
    const random = this.#random;
    const times = random.chance(SHARE_OF_TWICE) ? 2 : 1;
    for (let i = 0; i < times; i++) {
      const afterMs = random.between(0, random.chance(SHARE_OF_LATE) ? LATE_MS : SOON_MS);
      this.after(this.#try(call, afterMs), (ok) => {
        if (ok) taken();
      });
    }
  }

  async #try(call: () => Promise<number>, afterMs: number): Promise<boolean> {
    await delay(afterMs, undefined, { signal: this.#hurry.signal }).catch(() => {});
    const deadline = performance.now() + GIVE_UP_MS;
    while (performance.now() < deadline) {
      const status = await call().catch(() => 0);
      if (status >= 200 && status < 300) return true;
      if (status >= 400 && status < 500) {
        // What is refused is refused each time.
        this.faults.push(`a webhook was answered ${status}`);
        return false;
      }
      await delay(AGAIN_MS);
    }
    return false;
  }
}
