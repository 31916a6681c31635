/**
 * A vendor's double in a process of its own: `node bench/chaos/double-process.ts <name> <seed>`. Prints `{"url": …}` once it
 * listens; then takes one JSON command a line on stdin, and answers each with one line. What it has accepted is what counts
 * at the end.
 */
import { createInterface } from "node:readline";
import { seeded } from "./random.ts";
import { VENDORS, type VendorName } from "./vendors/index.ts";
import { Postman } from "./vendors/postman.ts";
import type { Accepted, Answer, Replied } from "./vendors/vendor.ts";

export interface Command {
  behave?: Answer;
  /** The service's processes, for webhooks. */
  reach?: readonly string[];
  /** What was to come late comes now. */
  hurry?: true;
  /** Wants the account of everything. */
  account?: true;
}

/** What a double has to say of the run. */
export interface Account {
  accepted: Accepted[];
  replies: Replied[];
  /** Webhooks that are still to be called. */
  pending: number;
  faults: string[];
}

const [name, seed] = process.argv.slice(2) as [VendorName, string];
const postman = new Postman(seeded(Number(seed)).fork(name));
await using vendor = await VENDORS[name](postman);
print({ url: vendor.url });
for await (const line of createInterface({ input: process.stdin })) {
  const { behave, reach, hurry, account } = JSON.parse(line) as Command;
  if (behave) vendor.behave(behave);
  if (reach) postman.reach(reach);
  if (hurry) postman.hurry();
  const { replies, pending, faults } = postman;
  print(account ? ({ accepted: vendor.accepted(), replies, pending, faults } satisfies Account) : { pending });
}
// The harness has gone.
process.exit();

function print(answer: object): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
