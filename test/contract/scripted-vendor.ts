import type { FakeVendor } from "../fakes/fake-vendor.ts";
import type { Situation } from "./provider-contract.ts";

/** Whoever is written to while a vendor is under test. */
export const TO = "+33612348899";

/** How a fake brings situations of the contract about: by what it answers, and by being gone. */
export function scriptedVendor<Answer extends { kind: string }>(answers: Partial<Record<Situation, Answer>>) {
  return {
    situations: ["is_unreachable", ...(Object.keys(answers) as Situation[])] as const,
    /** Whether the time-out is waited for. */
    hangs: (situation: Situation): boolean => answers[situation]?.kind === "hang",
    /** Answers the recipient for whom it is so. */
    async arrange(fake: FakeVendor<Answer>, situation: Situation): Promise<string> {
      if (situation === "is_unreachable") await fake[Symbol.asyncDispose]();
      else fake.script(TO, answers[situation]!);
      return TO;
    },
  };
}
