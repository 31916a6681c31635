import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ROOT, runCommand, say } from "../dev/command.ts";
import { StackError } from "../dev/stack/stack-error.ts";
import { api } from "./api.ts";
import { openBench, type Bench } from "./arena.ts";
import { cost } from "./cost.ts";
import { eta } from "./eta.ts";
import { fairness } from "./fairness.ts";
import { live } from "./live.ts";
import { metrics } from "./metrics.ts";
import { planning } from "./planning.ts";
import { profile } from "./profile.ts";
import { replicas } from "./replicas.ts";
import { tableOf, writeResults, type Section } from "./report.ts";
import { sending } from "./sending.ts";
import { shutdown } from "./shutdown.ts";
import { stream } from "./stream.ts";
import { webhooks } from "./webhooks.ts";
import { whatsapp } from "./whatsapp.ts";

const SECTIONS: Record<string, (bench: Bench) => Promise<Section>> = {
  planning,
  sending,
  replicas,
  cost,
  profile,
  fairness,
  eta,
  api,
  stream,
  webhooks,
  metrics,
  shutdown,
  live,
  whatsapp,
};

const USAGE = `npm run bench -- [options]
  --n N            contacts of a hunt (20000)
  --rounds N       times that each measurement is repeated (3)
  --concurrency N  messages under way at once in each queue (200, the service's default)
  --only A,B       of ${Object.keys(SECTIONS).join(", ")}
  --json           one JSON object as the last line
  --write          append to bench/RESULTS.md, and write the flame graph beside it`;

await runCommand(async (stopping) => {
  const { values } = parse();
  if (values.help) return console.log(USAGE);
  const n = wholeNumber("n", values.n);
  const rounds = wholeNumber("rounds", values.rounds);
  const concurrency = wholeNumber("concurrency", values.concurrency);
  const chosen = (values.only ?? Object.keys(SECTIONS).join(",")).split(",");
  for (const name of chosen) if (!SECTIONS[name]) throw new StackError(`--only knows no "${name}"\n${USAGE}`);

  const sections: Section[] = [];
  await using bench = await openBench({ n, rounds, concurrency, say });
  for (const name of chosen) {
    if (stopping.aborted) throw new StackError("stopped before the end");
    const section = await SECTIONS[name]?.(bench);
    if (!section) continue;
    sections.push(section);
    console.log(`\n${tableOf(section)}\n`);
  }
  const command = `npm run bench -- --n ${n} --rounds ${rounds} --concurrency ${concurrency} --only ${chosen.join(",")}`;
  if (values.write) {
    writeResults(join(ROOT, "bench/RESULTS.md"), command, sections, bench.versions);
    for (const [name, text] of sections.flatMap(({ files = {} }) => Object.entries(files))) {
      writeFileSync(join(ROOT, "bench", name), text);
    }
  }
  if (values.json) console.log(JSON.stringify({ n, rounds, concurrency, sections }));
});

function parse() {
  try {
    return parseArgs({
      options: {
        n: { type: "string", default: "20000" },
        rounds: { type: "string", default: "3" },
        concurrency: { type: "string", default: "200" },
        only: { type: "string" },
        json: { type: "boolean", default: false },
        write: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    throw new StackError(`${(error as Error).message}\n${USAGE}`);
  }
}

function wholeNumber(option: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new StackError(`--${option} is not a whole number above 0\n${USAGE}`);
}
