import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ROOT } from "../../dev/command.ts";
import { freePort } from "../../dev/stack/ports.ts";
import { type Child, launch } from "../../dev/stack/processes.ts";
import type { Run } from "../../dev/stack/run-directory.ts";
import { VENDOR_NAMES } from "./doubles.ts";
import { TcpProxy } from "./tcp-proxy.ts";

/** What a service process reaches over the network, each through a proxy of its own. */
export const DEPENDENCIES = ["redis", "database", ...VENDOR_NAMES, "whatsapp"] as const;
export type Dependency = (typeof DEPENDENCIES)[number];

export interface SlotOptions {
  name: string;
  run: Run;
  logFile: string;
  targets: Record<Dependency, number>;
  environment: Record<string, string>;
}

const POLL_MS = 20;
const START_TIMEOUT_MS = 30_000;

/**
 * The place of one service process: its port and its network stay when the process goes.
 *
 * States: down → starting → up → (frozen → up) → down.
 */
export class Slot implements AsyncDisposable {
  readonly name: string;
  readonly url: string;
  readonly proxies: Record<Dependency, TcpProxy>;
  /** Exits that nobody asked for. */
  readonly crashes: string[] = [];
  /** By `performance.now()`. */
  upSince = 0;
  state: "down" | "starting" | "up" | "frozen" = "down";
  readonly #options: SlotOptions;
  #child: Child | undefined;
  #ending = false;

  private constructor(options: SlotOptions, port: number, proxies: Record<Dependency, TcpProxy>) {
    this.name = options.name;
    this.url = `http://127.0.0.1:${port}`;
    this.proxies = proxies;
    this.#options = { ...options, environment: { ...options.environment, ...environmentOf(port, proxies) } };
  }

  static async open(options: SlotOptions): Promise<Slot> {
    const open = DEPENDENCIES.map(async (name) => [name, await TcpProxy.open(options.targets[name])] as const);
    const proxies = Object.fromEntries(await Promise.all(open)) as Record<Dependency, TcpProxy>;
    return new Slot(options, await freePort(), proxies);
  }

  /** Calls of providers that are under way, as the network sees it. */
  get openCalls(): number {
    return VENDOR_NAMES.reduce((sum, name) => sum + this.proxies[name].openCalls, 0);
  }

  async start(): Promise<void> {
    if (this.#ending) return;
    const { name, run, logFile, environment } = this.#options;
    this.state = "starting";
    const child = await launch({
      name,
      run,
      logFile,
      file: process.execPath,
      args: [join(ROOT, "bench/chaos/service-entry.ts")],
      cwd: ROOT,
      env: environment,
    });
    this.#child = child;
    void child.exited.then((how) => this.#exited(child, how));
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (this.#child === child) {
      const answer = await fetch(`${this.url}/health`, { signal: AbortSignal.timeout(2000) }).catch(() => undefined);
      await answer?.body?.cancel();
      if (answer) break;
      if (performance.now() > deadline) throw new Error(`${name} did not listen in time`);
      await delay(POLL_MS);
    }
    if (this.#child !== child || this.state !== "starting") return;
    this.state = "up";
    this.upSince = performance.now();
  }

  /** kill -9, and a new process at once. `gone` is called when the old one is dead. */
  async kill(gone: () => void): Promise<void> {
    const child = this.#take();
    if (!child) return;
    process.kill(child.pid, "SIGKILL");
    await child.exited;
    gone();
    await this.start();
  }

  /** SIGTERM, and a new process when the old one has left; answers how and after how long it left. */
  async replace(patienceMs: number): Promise<{ how: string; ms: number }> {
    const child = this.#take();
    if (!child) return { how: "was not there", ms: 0 };
    const since = performance.now();
    process.kill(child.pid, "SIGTERM");
    const left = await Promise.race([child.exited, delay(patienceMs, undefined, { ref: false })]);
    const ms = performance.now() - since;
    if (left === undefined) process.kill(child.pid, "SIGKILL");
    const how = left ?? `did not leave within ${patienceMs} ms: ${await child.exited}`;
    await this.start();
    return { how, ms };
  }

  /** As of a blocked event loop or a suspended machine: it lives, and does nothing. */
  async freeze(forMs: number, signal: AbortSignal): Promise<void> {
    const child = this.#child;
    if (!child || this.state !== "up") return;
    this.state = "frozen";
    process.kill(child.pid, "SIGSTOP");
    await delay(forMs, undefined, { signal }).catch(() => {});
    if (!child.isAlive()) return;
    process.kill(child.pid, "SIGCONT");
    if (this.#child === child) this.state = "up";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending = true;
    const child = this.#take();
    if (child?.isAlive()) process.kill(child.pid, "SIGKILL");
    await child?.exited;
    for (const proxy of Object.values(this.proxies)) await proxy[Symbol.asyncDispose]();
  }

  #take(): Child | undefined {
    const child = this.#child;
    this.#child = undefined;
    this.state = "down";
    return child;
  }

  #exited(child: Child, how: string): void {
    if (this.#child !== child) return;
    this.#take();
    this.crashes.push(`${this.name}: ${how}`);
    void this.start().catch((error: unknown) => this.crashes.push(`${this.name}: ${String(error)}`));
  }
}

function environmentOf(port: number, proxies: Record<Dependency, TcpProxy>): Record<string, string> {
  const at = (name: Dependency): string => `127.0.0.1:${proxies[name].port}`;
  return {
    PORT: String(port),
    REDIS_URL: `redis://${at("redis")}`,
    SUPABASE_URL: `http://${at("database")}`,
    TWILIO_API_BASE_URL: `http://${at("twilio")}`,
    CHAOS_TWILIO_VOICE_URL: `http://${at("twilio-voice")}`,
    VONAGE_API_BASE_URL: `http://${at("vonage")}`,
    VOICEPARTNER_API_BASE_URL: `http://${at("voicepartner")}/v1`,
    WHATSAPP_WS_URL: `ws://${at("whatsapp")}/ws/chat`,
  };
}
