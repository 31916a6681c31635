import { defineConfig } from "vitest/config";

const shared = {
  testTimeout: 30_000,
  hookTimeout: 60_000,
  expect: { poll: { timeout: 15_000, interval: 50 } },
  // Two cores: one file drives the service while another waits for it.
  maxWorkers: 4,
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
          exclude: ["test/output/**"],
          sequence: { groupOrder: 0 },
        },
      },
      // Reads what everything else has written.
      {
        test: { ...shared, name: "output", include: ["test/output/**/*.test.ts"], sequence: { groupOrder: 1 } },
      },
    ],
  },
});
