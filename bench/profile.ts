import { freePort } from "../dev/stack/ports.ts";
import { ROOT } from "../dev/command.ts";
import type { Bench } from "./arena.ts";
import { flameSvg } from "./flame-svg.ts";
import { beginningsOf, COLLECTION, framesOf, NODE, sharesOf, type Frame, type Share } from "./flame.ts";
import { planHunt, queuesOf, sendAll } from "./hunts.ts";
import { startProfile } from "./inspector.ts";
import type { Section, Series } from "./report.ts";
import { assertSent } from "./sending.ts";

const CHANNELS = ["sms"] as const;
const AREAS = 14;
const FUNCTIONS = 12;
const CALLERS = 6;
const BIGGEST = 3;

/** Where the service's processor time goes while it sends. */
export async function profile(bench: Bench): Promise<Section> {
  const { n } = bench;
  const areas: Share[][] = [];
  let functions: Share[] = [];
  let beginnings: Share[] = [];
  let svg = "";
  for (let round = 0; round < bench.rounds; round++) {
    await using arena = await bench.openArena();
    const port = await freePort();
    const service = await arena.startService({ NODE_OPTIONS: `--inspect=127.0.0.1:${port}` });
    await planHunt(arena, service, n, CHANNELS);
    const stop = await startProfile(port);
    await sendAll(arena, queuesOf(CHANNELS));
    const top = framesOf(await stop(), ROOT);
    await assertSent(arena, n);
    areas.push(sharesOf(top, ({ area }) => area));
    functions = sharesOf(top, functionOf);
    beginnings = beginningsOf(top);
    svg = flameSvg(top, `${n} messages sent: ${Math.round(top.total / n)} µs each`);
    bench.say(`profile, round ${round + 1}: ${words(areas.at(-1) ?? [], n, BIGGEST)}`);
  }
  const names = (areas.at(-1) ?? []).slice(0, AREAS).map(({ name }) => name);
  const seriesOf = (name: string): Series => ({
    name,
    unit: "µs",
    rounds: areas.map((round) => (round.find((share) => share.name === name)?.self ?? 0) / n),
  });
  const byTotal = (areas.at(-1) ?? [])
    .filter(({ name }) => name !== COLLECTION && name !== NODE)
    .toSorted((a, b) => b.total - a.total);
  const all: Series = {
    name: "all",
    unit: "µs",
    rounds: areas.map((round) => round.reduce((sum, { self }) => sum + self, 0) / n),
  };
  return {
    name: "profile",
    title: `The service's processor time a message, by area of the code, of ${n} over one channel`,
    series: [all, ...names.map(seriesOf)],
    ratios: [],
    notes: [
      `the three biggest: ${words(areas.at(-1) ?? [], n, BIGGEST)}`,
      `with what others do for them: ${words(byTotal, n, CALLERS, "total")}`,
      `what the event loop begins with, and all that follows from it: ${words(beginnings, n, FUNCTIONS, "total")}`,
      `functions by their own time: ${words(functions, n, FUNCTIONS)}`,
      "what Node and V8 do for a room or a package counts as its own; the main thread alone; the profiler itself costs some of it; --write keeps the flame graph of the last round as bench/profile.svg",
    ],
    files: { "profile.svg": svg },
  };
}

/** What has no line of its own is told by whom it works for. */
function functionOf({ name, area }: Frame): string {
  return /:\d+$/.test(name) || area === COLLECTION ? name : `${name} for ${area}`;
}

function words(shares: readonly Share[], n: number, count: number, what: "self" | "total" = "self"): string {
  return shares
    .slice(0, count)
    .map((share) => `${share.name} ${(share[what] / n).toFixed(1)} µs`)
    .join(", ");
}
