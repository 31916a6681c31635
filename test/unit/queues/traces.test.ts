import { createHash, randomUUID } from "node:crypto";
import { pino } from "pino";
import { expect, test } from "vitest";
import { UnavailableError } from "../../../src/core/errors.ts";
import type { Adding, NewMessageJob } from "../../../src/queues/adding.ts";
import { withTraces } from "../../../src/queues/traces.ts";
import type { HuntTrace, TraceStore } from "../../../src/store/traces.ts";

type Place = { carrier: Record<string, string>; recorded: boolean };

/** What is added, with the trace that it is added in; `down`: the database is away. */
function stage({ down = false } = {}) {
  const state = { here: undefined as Place | undefined, now: 0, asked: [] as string[][] };
  const kept = new Map<string, HuntTrace>();
  const added: { place: Place | undefined; ids: string[] }[] = [];
  const away = (): never => {
    throw new UnavailableError("database", "The database did not answer.");
  };
  const store: TraceStore = {
    keep: async (jobId, trace) => (down ? away() : void kept.set(jobId, trace)),
    ofSubmission: async (jobId) => (down ? away() : kept.get(jobId)),
    async ofHunts(huntIds) {
      if (down) away();
      state.asked.push([...huntIds]);
      return [...kept.values()].filter(({ huntId }) => huntIds.includes(huntId));
    },
  };
  const adding = {
    addMessages: async (jobs: readonly NewMessageJob[]) =>
      void added.push({ place: state.here, ids: jobs.map(({ data }) => data.messageId) }),
    addHunt: async ({ jobId }: { jobId: string }) => void added.push({ place: state.here, ids: [jobId] }),
  } as unknown as Adding;
  const within = <T>(carrier: Record<string, string>, recorded: boolean, run: () => T): T => {
    const before = state.here;
    state.here = { carrier, recorded };
    const result = run();
    state.here = before;
    return result;
  };
  const queues = withTraces(adding, {
    store,
    tracing: { current: () => state.here, within },
    clock: { monotonic: () => state.now },
    log: pino({ level: "silent" }),
  });
  /** As a request would: within a trace of its own. */
  const submit = (huntId: string, contacts: number, recorded = true): Promise<void> =>
    within({ traceparent: `trace of ${huntId}` }, recorded, () =>
      queues.addHunt({ jobId: randomUUID(), huntId, chunks: Math.ceil(contacts / 500) }),
    );
  return { state, added, queues, submit };
}

function messages(huntId: string | undefined, count: number): NewMessageJob[] {
  return Array.from({ length: count }, (_, no) => {
    const messageId = createHash("sha256").update(`${huntId} ${no}`).digest("hex").slice(0, 32);
    return { queue: "sms", data: { messageId, huntId, channel: "sms", to: "+33612345678", content: {} } };
  });
}

const inTrace = (added: { place: Place | undefined; ids: string[] }[], huntId: string, recorded = true): number =>
  added
    .filter(({ place }) => place?.recorded === recorded && place.carrier["traceparent"] === `trace of ${huntId}`)
    .reduce((sum, { ids }) => sum + ids.length, 0);

test("messages of several hunts at once → each goes on with its hunt's trace, those of none with none", async () => {
  const { added, queues, submit, state } = stage();
  await submit("a", 3);
  await submit("b", 2);
  added.length = 0;

  await queues.addMessages([...messages("a", 3), ...messages(undefined, 4), ...messages("b", 2), ...messages("c", 1)]);
  expect([inTrace(added, "a"), inTrace(added, "b")]).toEqual([3, 2]);
  expect(added.filter(({ place }) => place === undefined).flatMap(({ ids }) => ids)).toHaveLength(5);

  await queues.addMessages(messages("a", 1));
  expect(state.asked).toEqual([["a", "b", "c"]]);
  state.now += 1001;
  await queues.addMessages(messages("a", 1));
  expect(state.asked.at(-1)).toEqual(["a"]);
});

test("a hunt of 20,000 → about a thousand of its messages are recorded, the same ones when they are added again", async () => {
  const { added, queues, submit } = stage();
  await submit("big", 20_000);
  added.length = 0;
  await queues.addMessages(messages("big", 20_000));
  const recorded = inTrace(added, "big");
  expect(recorded).toBeGreaterThan(850);
  expect(recorded).toBeLessThan(1150);
  expect(recorded + inTrace(added, "big", false)).toBe(20_000);

  const first = added.find(({ place }) => place?.recorded)!.ids;
  added.length = 0;
  await queues.addMessages(messages("big", 20_000));
  expect(added.find(({ place }) => place?.recorded)!.ids).toEqual(first);
});

test("a request whose trace is not sampled → nothing of its hunt is", async () => {
  const { added, queues, submit } = stage();
  await submit("quiet", 3, false);
  added.length = 0;
  await queues.addMessages(messages("quiet", 3));
  expect(added).toMatchObject([{ place: { recorded: false } }]);
});

test("the database is away → all is added, without a trace", async () => {
  const { added, queues, submit } = stage({ down: true });
  await submit("a", 1);
  const job = { jobId: randomUUID(), huntId: "a", chunks: 1 };
  await queues.addHunt(job);
  await queues.addMessages(messages("a", 2));
  expect(added.map(({ ids }) => ids.length)).toEqual([1, 1, 2]);
  expect(added.at(-1)?.place).toBeUndefined();
});

test("a submission whose jobs were lost → is planned within the trace of its request", async () => {
  const { added, queues, submit } = stage();
  await submit("a", 1);
  const jobId = added[0]!.ids[0]!;
  await queues.addHunt({ jobId, huntId: "a", chunks: 1 });
  expect(added[1]).toMatchObject({ place: { carrier: { traceparent: "trace of a" } }, ids: [jobId] });
});
