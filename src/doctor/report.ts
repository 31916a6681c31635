import type { Finding } from "./finding.ts";

const SIGNS = { ok: "ok     ", warning: "warning", fault: "FAULT  " } as const;

/** One line a finding, faults last, so that they are what is seen. */
export function reportOf(findings: readonly Finding[]): string {
  const of = (state: Finding["state"]): Finding[] => findings.filter((finding) => finding.state === state);
  const [good, warnings, faults] = [of("ok"), of("warning"), of("fault")];
  const lines = [...good, ...warnings, ...faults].flatMap(({ check, state, says, advice }) => [
    `${SIGNS[state]}  ${check}: ${says}`,
    ...(advice === undefined ? [] : [`         → ${advice}`]),
  ]);
  const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;
  const end =
    faults.length > 0
      ? `${count(faults.length, "fault")}, ${count(warnings.length, "warning")}`
      : `nothing is wrong; ${count(warnings.length, "warning")}`;
  return `${[...lines, "", end].join("\n")}\n`;
}

export const isWell = (findings: readonly Finding[]): boolean => findings.every(({ state }) => state !== "fault");
