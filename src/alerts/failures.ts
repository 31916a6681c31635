import { isFailing, type Observed } from "./conditions.ts";
import type { AlertThresholds } from "./settings.ts";

type Calls = Observed["calls"][number];

/**
 * Calls within the window as they are judged: of a provider that was failing those that said so, until calls say that it does
 * better. That nothing is sent any more is no recovery.
 */
export function createFailures(
  limits: Pick<AlertThresholds, "failureMinimum" | "failureRatio">,
): (calls: readonly Calls[]) => Calls[] {
  const failing = new Map<string, Calls>();
  return (calls) =>
    calls.map((each) => {
      const provider = `${each.channel}:${each.provider}`;
      if (isFailing(each, limits)) failing.set(provider, each);
      else if (each.all > 0 && each.failed / each.all < limits.failureRatio) failing.delete(provider);
      return failing.get(provider) ?? each;
    });
}
