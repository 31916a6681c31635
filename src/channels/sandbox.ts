import { z } from "zod";
import type { Clock } from "../core/clock.ts";
import type { Inbound } from "../core/inbound.ts";
import type { OpenAttempt, Provider, Reconciliation, SendRequest, SendResult } from "./provider.ts";
import type { ProviderDefinition } from "./provider-definition.ts";
import { NAME, aborted, fenced, refusalOf } from "./sandbox-errors.ts";
import { AttemptLog } from "./sandbox-log.ts";

const env = {
  SANDBOX_LATENCY_MS: z.coerce
    .number()
    .int()
    .min(0)
    .max(60_000)
    .default(20)
    .describe("How long the sandbox takes to accept a message, milliseconds."),
  SANDBOX_RECEIPT_DELAY_MS: z
    .union([z.literal("none"), z.coerce.number().int().min(0).max(600_000)])
    .default(250)
    .describe("How long after acceptance the sandbox reports delivery, milliseconds; `none` for no reports."),
};

/**
 * A provider that needs no account anywhere. The last four digits of the recipient choose what happens:
 *
 * | digits | outcome |
 * |---|---|
 * | 0001 | refused for good (`sandbox_refused`) |
 * | 0002 | rate-limited on the first call, then accepted |
 * | 0003 | a transient error, not sent, on the first two calls, then accepted |
 * | 0004 | as if timed out: unknown, and never to be found out |
 * | 0005 | accepted, then a receipt `failed` with code `undelivered` |
 * | 0006 | accepted, delivered, then the recipient replies STOP |
 * | other | accepted, then delivered |
 */
export function sandboxProvider(channelName: string): ProviderDefinition<typeof env> {
  return {
    name: NAME,
    env,
    configured: () => "present",
    create: async (values, { clock, inbound }) =>
      new SandboxProvider({
        idPrefix: `sandbox:${channelName}:`,
        latencyMs: values.SANDBOX_LATENCY_MS,
        receiptDelayMs: values.SANDBOX_RECEIPT_DELAY_MS,
        clock,
        inbound,
      }),
  };
}

interface SandboxPorts {
  idPrefix: string;
  latencyMs: number;
  receiptDelayMs: number | "none";
  clock: Clock;
  inbound: Inbound;
}

interface DueReceipt {
  /** By `performance.now()`, which timers go by, and not by the injected clock, which a test may hold still. */
  dueAt: number;
  request: SendRequest;
  providerMessageId: string;
}

/**
 * An attempt is unseen → accepted, or unseen → fenced (when `reconcile` has sworn that it was not accepted); both are
 * final. The log is this process's own: two processes with a sandbox each know nothing of each other.
 */
class SandboxProvider implements Provider {
  readonly name = NAME;
  readonly timeoutMs: number;
  readonly reconcileAfterMs = 0;
  readonly #ports: SandboxPorts;
  readonly #log: AttemptLog;
  /** In the order of `dueAt`, as the delay is the same for all: one timer, for the first, is enough. */
  #outstanding: DueReceipt[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(ports: SandboxPorts) {
    this.#ports = ports;
    this.#log = new AttemptLog(ports.clock);
    this.timeoutMs = ports.latencyMs + 1_000;
  }

  /** Not `async`: at a latency of 0 the throughput benchmark measures everything but this. */
  send(request: SendRequest, signal: AbortSignal): Promise<SendResult> {
    if (signal.aborted) return Promise.reject(aborted());
    if (this.#ports.latencyMs === 0) return this.#settle(request);
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        clearTimeout(timer);
        reject(aborted());
      };
      const timer = setTimeout(() => {
        signal.removeEventListener("abort", onAbort);
        resolve(this.#settle(request));
      }, this.#ports.latencyMs);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  async reconcile(attempt: OpenAttempt): Promise<Reconciliation> {
    if (attempt.to.endsWith("0004")) return { result: "inconclusive" };
    const state = this.#log.resolve(attempt.attemptId, attempt.startedAt);
    if (state === "accepted") return { result: "accepted", providerMessageId: this.#idOf(attempt) };
    return { result: state === "fenced" ? "not_accepted" : "inconclusive" };
  }

  /** Reports at once what was still to be reported, so that a short-lived process leaves nothing pending. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const due of this.#outstanding.splice(0)) this.#report(due);
  }

  #settle(request: SendRequest): Promise<SendResult> {
    const refusal = refusalOf(request);
    if (refusal !== undefined) return Promise.reject(refusal);
    const state = this.#log.accept(request.attemptId);
    if (state === "fenced") return Promise.reject(fenced());
    const providerMessageId = this.#idOf(request);
    if (state === "accepted") this.#schedule({ request, providerMessageId });
    return Promise.resolve({ providerMessageId });
  }

  #idOf({ attemptId }: SendRequest): string {
    return this.#ports.idPrefix + attemptId;
  }

  #schedule(receipt: Omit<DueReceipt, "dueAt">): void {
    const { receiptDelayMs } = this.#ports;
    if (receiptDelayMs === "none") return;
    this.#outstanding.push({ dueAt: performance.now() + receiptDelayMs, ...receipt });
    this.#arm(receiptDelayMs);
  }

  /** `unref`: a receipt of the sandbox is no reason to keep a process running. */
  #arm(delayMs: number): void {
    this.#timer ??= setTimeout(() => this.#reportDue(), delayMs).unref();
  }

  #reportDue(): void {
    this.#timer = undefined;
    const now = performance.now();
    // A timer may fire up to a millisecond early.
    const notYet = this.#outstanding.findIndex(({ dueAt }) => dueAt > now + 1);
    for (const due of this.#outstanding.splice(0, notYet === -1 ? Infinity : notYet)) this.#report(due);
    const next = this.#outstanding[0];
    if (next !== undefined) this.#arm(Math.max(0, next.dueAt - now));
  }

  #report({ request, providerMessageId }: DueReceipt): void {
    const { clock, inbound } = this.#ports;
    const receipt = { provider: NAME, providerMessageId, at: clock.now() };
    if (request.to.endsWith("0005")) return void inbound.receipt({ ...receipt, status: "failed", code: "undelivered" });
    void inbound.receipt({ ...receipt, status: "delivered" });
    if (!request.to.endsWith("0006")) return;
    const to = request.from === undefined ? {} : { to: request.from };
    void inbound.reply({ ...receipt, from: request.to, ...to, text: "STOP" });
  }
}
