import { join } from "node:path";
import { parseArgs } from "node:util";
import { ROOT, runCommand, say } from "../../dev/command.ts";
import { StackError } from "../../dev/stack/stack-error.ts";
import { runChaos } from "./chaos.ts";
import { tableOf, verdict, writeResult } from "./report.ts";

const USAGE = `npm run chaos -- [options]
  --minutes N    for how long there is load and trouble (10); then it waits for quiet and counts
  --seed N       which faults, when, how long (random): the order is the same again, the moments nearly
  --rate N       contacts submitted a second (50)
  --logs DIR     keep the logs of services and servers there
  --json         one JSON object as the last line
  --write        append to bench/RESULTS.md`;

await runCommand(async (stopping) => {
  const { values } = parse();
  if (values.help) return console.log(USAGE);
  const result = await runChaos({
    minutes: above0("minutes", values.minutes),
    seed: values.seed === undefined ? Math.floor(Math.random() * 1_000_000) : above0("seed", values.seed),
    rate: above0("rate", values.rate),
    logs: values.logs,
    stopping,
    say,
  });
  const broken = verdict(result);
  console.log(`\n${tableOf(result)}\n`);
  for (const line of broken) console.log(line);
  if (values.write) writeResult(join(ROOT, "bench/RESULTS.md"), result, broken);
  if (values.json) console.log(JSON.stringify({ passed: broken.length === 0, ...result }));
  if (broken.length > 0)
    throw new StackError(`the promises were broken; run again with --seed ${result.seed} --logs DIR`);
});

function parse() {
  try {
    return parseArgs({
      options: {
        minutes: { type: "string", default: "10" },
        seed: { type: "string" },
        rate: { type: "string", default: "50" },
        logs: { type: "string" },
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
