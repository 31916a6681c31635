import { appendFileSync, existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ROOT, runCommand, say } from "../../dev/command.ts";
import { StackError } from "../../dev/stack/stack-error.ts";
import { notFlat, tableOf, trendsOf, type Trend } from "./samples.ts";
import { soak, type SoakResult } from "./soak.ts";

const USAGE = `npm run soak -- [options]
  --minutes N    for how long (10)
  --rate N       messages a second (200)
  --json         one JSON object as the last line
  --write        append to bench/RESULTS.md`;

/** While caches and logs fill and the first code is compiled, nothing is steady. */
const WARM_UP_SHARE = 0.3;
const MAX_WARM_UP_MINUTES = 3;
/** A backlog that has grown by so many seconds of work over the run is one without a bound. */
const MAX_BACKLOG_SECONDS = 10;

await runCommand(async (stopping) => {
  const { values } = parse();
  if (values.help) return console.log(USAGE);
  const [minutes, rate] = [above0("minutes", values.minutes), above0("rate", values.rate)];
  const result = await soak({ minutes, rate, stopping, say });
  const warmUp = Math.min(MAX_WARM_UP_MINUTES, minutes * WARM_UP_SHARE);
  const trends = trendsOf(result.samples.filter((sample) => sample.minutes >= warmUp));
  const faults = [...faultsOf(result, trends), ...notFlat(trends, minutes - warmUp)];
  const head = `soak, ${minutes} minutes at ${rate} messages/s: ${result.accepted} accepted, ${result.delivered} delivered`;
  console.log(`\n${head}\n${tableOf(trends)}\n`);
  const { samples: _, ...figures } = result;
  if (values.write) write(`npm run soak -- --minutes ${minutes} --rate ${rate}`, `${head}\n${tableOf(trends)}`, faults);
  if (values.json) console.log(JSON.stringify({ passed: faults.length === 0, ...figures, trends, faults }));
  if (faults.length > 0) throw new StackError(faults.join("; "));
});

function faultsOf({ accepted, delivered, refused, minutes, rate }: SoakResult, trends: readonly Trend[]): string[] {
  const faults: string[] = [];
  if (accepted === 0) faults.push("nothing was accepted");
  if (delivered !== accepted) faults.push(`${accepted - delivered} messages were accepted and not delivered`);
  if (refused > 0) faults.push(`${refused} hunts were not accepted`);
  const backlog = (trends.find(({ name }) => name === "messages not settled")?.slope ?? 0) * minutes;
  if (backlog > MAX_BACKLOG_SECONDS * rate) faults.push(`the backlog has grown by ${Math.round(backlog)} messages`);
  return faults;
}

function write(command: string, table: string, faults: readonly string[]): void {
  const file = join(ROOT, "bench/RESULTS.md");
  const machine = `${availableParallelism()} cores, Node ${process.versions.node}`;
  const end = faults.length === 0 ? "Passed." : `Failed: ${faults.join("; ")}.`;
  const date = new Date().toISOString().slice(0, 10);
  const text = `\n## ${date}: \`${command}\`\n\n${machine}. ${end}\n\n\`\`\`\n${table}\n\`\`\`\n`;
  appendFileSync(file, (existsSync(file) ? "" : "# Results\n") + text);
}

function parse() {
  try {
    return parseArgs({
      options: {
        minutes: { type: "string", default: "10" },
        rate: { type: "string", default: "200" },
        json: { type: "boolean", default: false },
        write: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    throw new StackError(`${(error as Error).message}\n${USAGE}`);
  }
}

function above0(option: string, text: string): number {
  const value = Number(text);
  if (value > 0) return value;
  throw new StackError(`--${option} is not a number above 0\n${USAGE}`);
}
