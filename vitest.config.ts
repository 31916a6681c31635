import { globSync, readFileSync } from "node:fs";
import { defineConfig } from "vitest/config";
import { TurnsSequencer } from "./test/helpers/sequencer.ts";

/** Files that put something in the place of what a worker's files share: a module, its timers, whom it trusts. */
const ALONE = globSync("test/**/*.test.ts").filter((file) =>
  /vi\.mock\(|useFakeTimers|setDefaultCACertificates/.test(readFileSync(file, "utf8")),
);

const shared = {
  testTimeout: 30_000,
  hookTimeout: 60_000,
  expect: { poll: { timeout: 15_000, interval: 100 } },
  // Two cores: most files wait most of the time.
  maxWorkers: 4,
  // What a worker has loaded and compiled for one file serves the next.
  isolate: false,
};

export default defineConfig({
  test: {
    // Once for both projects.
    globalSetup: "test/helpers/global-setup.ts",
    sequence: { sequencer: TurnsSequencer },
    reporters: ["default", "./test/helpers/summary-reporter.ts"],
    projects: [
      {
        test: {
          ...shared,
          name: "suite",
          include: ["test/**/*.test.ts"],
          exclude: ["test/output/**", ...ALONE],
          sequence: { groupOrder: 0 },
        },
      },
      { test: { ...shared, name: "alone", include: ALONE, isolate: true, sequence: { groupOrder: 0 } } },
      // Reads what everything else has written.
      {
        test: { ...shared, name: "output", include: ["test/output/**/*.test.ts"], sequence: { groupOrder: 1 } },
      },
    ],
  },
});
