import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { ROOT } from "../../dev/command.ts";
import type { Account, Command } from "./double-process.ts";
import { VENDORS, type VendorName } from "./vendors/index.ts";
import type { Answer } from "./vendors/vendor.ts";

/** A vendor's double in a process of its own, told how to behave and asked what it has accepted. */
export interface Double extends AsyncDisposable {
  readonly url: string;
  behave(answer: Answer): Promise<void>;
  /** The processes that its webhooks go to. */
  reach(services: readonly string[]): Promise<void>;
  /** Nothing comes late any more. */
  hurry(): Promise<void>;
  /** Webhooks that are still to be called. */
  pending(): Promise<number>;
  account(): Promise<Account>;
}

export type Doubles = Record<VendorName, Double>;

/** About as slow as a vendor, so that a kill finds calls under way. */
export const NORMAL: Answer = { kind: "slow", delayMs: 200 };
export const VENDOR_NAMES = Object.keys(VENDORS) as VendorName[];

/** @param compileCache a directory for `NODE_COMPILE_CACHE`. */
export async function startDoubles(seed: number, undo: AsyncDisposableStack, compileCache: string): Promise<Doubles> {
  const env = { ...process.env, NODE_COMPILE_CACHE: compileCache };
  const starting = VENDOR_NAMES.map(async (name) => [name, undo.use(await startDouble(name, seed, env))] as const);
  return Object.fromEntries(await Promise.all(starting)) as Doubles;
}

async function startDouble(name: VendorName, seed: number, env: NodeJS.ProcessEnv): Promise<Double> {
  // It ends with us: its standard input closes then.
  const args = [join(ROOT, "bench/chaos/double-process.ts"), name, String(seed)];
  const child = spawn(process.execPath, args, { env, stdio: ["pipe", "pipe", "inherit"], detached: true });
  const exited = once(child, "exit");
  const waiting: ((line: string) => void)[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => waiting.shift()?.(line));
  const next = async (): Promise<unknown> => {
    const line = new Promise<string>((resolve) => waiting.push(resolve));
    const gone = exited.then(() => Promise.reject(new Error(`the double of ${name} has died`)));
    return JSON.parse(await Promise.race([line, gone])) as unknown;
  };
  const ask = (command: Command): Promise<unknown> => {
    child.stdin.write(`${JSON.stringify(command)}\n`);
    return next();
  };
  const { url } = (await next()) as { url: string };
  await ask({ behave: NORMAL });
  return {
    url,
    behave: async (behave) => void (await ask({ behave })),
    reach: async (reach) => void (await ask({ reach })),
    hurry: async () => void (await ask({ hurry: true })),
    pending: async () => ((await ask({})) as Account).pending,
    account: async () => (await ask({ account: true })) as Account,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}
