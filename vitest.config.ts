import { globSync, readFileSync } from "node:fs";
import { defineConfig } from "vitest/config";

/** Files that put something in a module's place need their modules fresh; all others share those of their worker. */
const MOCKING = globSync("test/**/*.test.ts").filter((file) => readFileSync(file, "utf8").includes("vi.mock("));

const shared = {
  testTimeout: 30_000,
  hookTimeout: 60_000,
  expect: { poll: { timeout: 15_000, interval: 100 } },
  // Two cores: most files wait most of the time.
  maxWorkers: 6,
  // What a worker has loaded and compiled for one file serves the next.
  isolate: false,
};

export default defineConfig({
  test: {
    // Once for both projects.
    globalSetup: "test/helpers/global-setup.ts",
    reporters: ["default", "./test/helpers/summary-reporter.ts"],
    projects: [
      {
        test: {
          ...shared,
          name: "suite",
          include: ["test/**/*.test.ts"],
          exclude: ["test/output/**", ...MOCKING],
          sequence: { groupOrder: 0 },
        },
      },
      { test: { ...shared, name: "mocking", include: MOCKING, isolate: true, sequence: { groupOrder: 0 } } },
      // Reads what everything else has written.
      {
        test: { ...shared, name: "output", include: ["test/output/**/*.test.ts"], sequence: { groupOrder: 1 } },
      },
    ],
  },
});
