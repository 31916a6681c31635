import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { ROOT } from "../../dev/command.ts";
import type { FakeTwilioMessage, TwilioAnswer } from "../../test/fakes/twilio/fake-twilio.ts";
import type { Accepted } from "./double-process.ts";

export type { TwilioAnswer as Answer } from "../../test/fakes/twilio/fake-twilio.ts";

/** A provider's double in a process of its own, told how to behave and asked what it has accepted. */
export interface Double<Entry> extends AsyncDisposable {
  readonly url: string;
  behave(answer: TwilioAnswer): Promise<void>;
  accepted(): Promise<Entry[]>;
}

/** About as slow as a vendor, so that a kill finds calls under way. */
export const NORMAL: TwilioAnswer = { kind: "slow", delayMs: 200 };

export const startTwilio = (): Promise<Double<FakeTwilioMessage>> => startDouble("test/fakes/twilio/cli.ts");
export const startTagged = (): Promise<Double<Accepted>> => startDouble("bench/chaos/double-process.ts");

async function startDouble<Entry>(entry: string): Promise<Double<Entry>> {
  // It ends with us: its standard input closes then.
  const child = spawn(process.execPath, [join(ROOT, entry)], { stdio: ["pipe", "pipe", "inherit"], detached: true });
  const exited = once(child, "exit");
  const waiting: ((line: string) => void)[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => waiting.shift()?.(line));
  const next = async (): Promise<Record<string, unknown>> => {
    const line = new Promise<string>((resolve) => waiting.push(resolve));
    const gone = exited.then(() => Promise.reject(new Error(`the double ${entry} has died`)));
    return JSON.parse(await Promise.race([line, gone])) as Record<string, unknown>;
  };
  const ask = (command: object): Promise<Record<string, unknown>> => {
    child.stdin.write(`${JSON.stringify(command)}\n`);
    return next();
  };
  const { url } = await next();
  const double: Double<Entry> = {
    url: url as string,
    behave: async (answer) => void (await ask({ otherwise: answer })),
    accepted: async () => (await ask({ accepted: true }))["accepted"] as Entry[],
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
    },
  };
  await double.behave(NORMAL);
  return double;
}
