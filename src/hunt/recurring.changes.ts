import { z } from "zod";
import { check } from "../core/faults.ts";
import { invalidRequest, type Fault } from "../core/problem.ts";
import type { RecurrenceChanges, StoredRecurrence } from "../store/recurrences.ts";
import { newHuntOf, type HuntBodyReader } from "./body.ts";
import type { ChannelDirectory, Contact } from "./contacts.ts";
import { contentFields, covers } from "./content.ts";
import { cronFaults, NOT_OF_A_RUN, readHunt, recurrenceHead, runSchema } from "./recurring.body.ts";
import { windowsSchema } from "./timing.ts";

/** Changes of a recurrence as they were found right; `contacts`: in place of its own. */
export interface ReadChanges {
  changes: RecurrenceChanges;
  contacts: Contact[] | undefined;
}

export interface RecurrenceChangesReader {
  schema: z.ZodObject;
  /** All faults at once, against the recurrence as it is. Rejects with `UnavailableError`. */
  read(raw: unknown, stored: StoredRecurrence, now: number): Promise<ReadChanges>;
}

const NOTHING = "names nothing to change: name, cron, timeZone, until, count, expiresAfterSeconds or hunt";

export function recurrenceChanges(hunts: HuntBodyReader, channels: ChannelDirectory): RecurrenceChangesReader {
  const { until, count, expiresAfterSeconds } = recurrenceHead.shape;
  const head = recurrenceHead
    .omit({ accountId: true })
    .partial()
    .extend({
      until: until.nullable().describe("No run after it; null: endless"),
      count: count.nullable().describe("Runs at the most, those that have been included; null: endless"),
      expiresAfterSeconds: expiresAfterSeconds.nullable().describe("Of the runs from now on; null: seven days"),
    });
  const hunt = runSchema(hunts, channels)
    .partial()
    .extend({ windows: windowsSchema.nullish().describe("In place of the old ones; null takes them away") });
  const contentNames = Object.keys(contentFields(channels.values()));

  return {
    schema: head.extend({
      hunt: hunt
        .optional()
        .describe(
          "Of the runs from now on. With `contacts` in place of the whole old one; else what is given of `priority`, `windows` and " +
            "content, the fields of which stand for one another: whoever gives one gives all that are to be",
        ),
    }),
    async read(raw, stored, now) {
      const { value, faults } = check(head.extend({ hunt: z.looseObject({}).optional() }), raw);
      const given = value as z.output<typeof head> | undefined;
      if (given && Object.values(raw ?? {}).every((each) => each === undefined))
        faults.push({ pointer: "", detail: NOTHING });
      if (given) faults.push(...timeFaults(given, stored, now));
      const { hunt: own } = (raw ?? {}) as { hunt?: Record<string, unknown> };
      const isHunt = typeof own === "object" && own !== null && !Array.isArray(own);
      const said =
        isHunt && (own["contacts"] === undefined ? await readTerms(own, faults) : await readWhole(own, faults));
      if (faults.length > 0 || !given) throw invalidRequest(faults);
      const { name, cron, timeZone, expiresAfterSeconds: seconds } = given;
      const changes = {
        ...(said ? said.hunt : {}),
        ...(seconds === undefined ? {} : { expiresAfterSeconds: seconds }),
      };
      return {
        changes: {
          name,
          pattern: cron,
          timeZone,
          until: given.until && new Date(given.until).toISOString(),
          count: given.count,
          ...(Object.keys(changes).length > 0 ? { hunt: changes } : {}),
          templateIds: said ? said.templateIds : [],
          uncovered: said ? said.uncovered : [],
        },
        contacts: said ? said.contacts : undefined,
      };

      async function readWhole(whole: Record<string, unknown>, faults: Fault[]) {
        const read = await readHunt(whole, stored.accountId, hunts, faults);
        if (!read) return undefined;
        const { contacts, ...rest } = read;
        const { priority = "normal", content = null, windows = null, templateIds = [] } = newHuntOf(rest);
        return { hunt: { priority, content, windows }, templateIds, contacts, uncovered: [] };
      }

      /** What of a hunt is said of all of its contacts, who stay. */
      async function readTerms(terms: Record<string, unknown>, faults: Fault[]) {
        const of = Object.fromEntries(
          Object.entries(terms).filter(([name, each]) => !NOT_OF_A_RUN.includes(name as "sendAt") && each !== null),
        );
        for (const name of NOT_OF_A_RUN)
          if (name in terms) faults.push({ pointer: `/hunt/${name}`, detail: "belongs to no hunt that comes again" });
        const read = await hunts.readHead({ ...of, huntId: "recurring", accountId: stored.accountId }, faults, "/hunt");
        if (faults.length > 0) return undefined;
        const result = read.result();
        const { priority, content = null, windows, templateIds = [] } = newHuntOf(result);
        const says = contentNames.some((name) => of[name] !== undefined);
        return {
          hunt: {
            ...(priority === undefined ? {} : { priority }),
            ...(says ? { content } : {}),
            ...(terms["windows"] === null ? { windows: null } : windows === undefined ? {} : { windows }),
          },
          templateIds,
          contacts: undefined,
          uncovered: says ? wordless(channels).filter((name) => !covers(result.content, channels.get(name)!)) : [],
        };
      }
    },
  };
}

/** Channels over which nothing can be sent to who has no message and whom no template speaks for. */
function wordless(channels: ChannelDirectory): string[] {
  return [...channels.values()].flatMap(({ name, contentOf }) => {
    const content = contentOf({});
    const needs = "faults" in content && content.faults.some(({ pointer }) => pointer === "/message");
    return needs ? name : [];
  });
}

/** Of a pattern, a zone and an end that come together from what is given and what was there. */
function timeFaults(
  {
    cron,
    timeZone,
    until,
  }: { cron?: string | undefined; timeZone?: string | undefined; until?: string | null | undefined },
  stored: StoredRecurrence,
  now: number,
): Fault[] {
  if (cron === undefined && timeZone === undefined && (until ?? undefined) === undefined) return [];
  const end = until === undefined ? stored.until : until;
  const when = { cron: cron ?? stored.pattern, timeZone: timeZone ?? stored.timeZone };
  return cronFaults({ ...when, ...(end === null ? {} : { until: end }) }, now);
}
