import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * Long files and short ones in turns. The longest ones start processes and outages: all of them at once would leave none of
 * them the processor that its leases and locks reckon with, and what comes last is neither.
 */
export class TurnsSequencer extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // oxlint-disable-next-line unicorn/no-array-sort -- no array's
    const longestFirst = await super.sort(files);
    return [...Map.groupBy(longestFirst, ({ project }) => project.name).values()].flatMap(inTurns);
  }
}

/** First, last, second, last but one, … */
function inTurns<T>(items: readonly T[]): T[] {
  return items.map((_, i) => items.at(i % 2 === 0 ? i / 2 : -(i + 1) / 2) as T);
}
