import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    globalSetup: "test/helpers/global-setup.ts",
    reporters: ["default", "./test/helpers/summary-reporter.ts"],
    include: ["test/**/*.test.ts"],
    // Two cores: one file drives the service while another waits for it.
    maxWorkers: 3,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 15_000, interval: 50 } },
  },
});
