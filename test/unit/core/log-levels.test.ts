import { expect, test } from "vitest";
import { readConfig } from "../../../src/config.ts";
import { createLogger, roomLogger } from "../../../src/core/logger.ts";
import { CHANNELS } from "../../../src/modules.ts";

const REQUIRED = { API_SECRET: "x", REDIS_URL: "redis://x", SUPABASE_URL: "http://x", SUPABASE_SERVICE_KEY: "x" };
const read = (environment: Record<string, string>) => readConfig({ ...REQUIRED, ...environment }, CHANNELS);

test("rooms with levels of their own → log more or less than the rest, their children too", () => {
  const lines: { room: string; msg: string }[] = [];
  const { logLevel: level, logLevels } = read({ LOG_LEVELS: " whatsapp=debug, store=error" });
  const log = createLogger({ level, destination: { write: (line) => void lines.push(JSON.parse(line)) } });
  for (const room of ["whatsapp", "store", "sms"]) {
    const child = roomLogger(log, room, logLevels).child({ queue: room });
    child.debug("debug");
    child.info("info");
    child.error({ phone: "+33612345678" }, "error");
  }
  expect(lines.map(({ room, msg }) => `${room} ${msg}`)).toEqual([
    "whatsapp debug",
    "whatsapp info",
    "whatsapp error",
    "store error",
    "sms info",
    "sms error",
  ]);
  expect(JSON.stringify(lines)).not.toContain("612345678");
});

test.each(["whatsap=debug", "whatsapp=loud", "whatsapp", "=debug", "store=warn,"])(
  "%j → a fault with words",
  (given) => {
    expect(() => read({ LOG_LEVELS: given })).toThrow(/LOG_LEVELS: is not valid: .*is not a room and its level/);
  },
);
