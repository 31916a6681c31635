import { expect, test } from "vitest";
import { createLogger } from "../../../src/core/logger.ts";

function logged(write: (log: ReturnType<typeof createLogger>) => void): string {
  let text = "";
  write(createLogger({ level: "info", destination: { write: (line: string) => (text += line) } }));
  return text;
}

const SECRETS = /hunter2|33612345678|Bonjour|https:\/\/cdn/;

test("secrets, texts and numbers are taken out at any depth", () => {
  const line = logged((log) =>
    log.info(
      {
        headers: { Authorization: "Bearer hunter2", cookie: "s=hunter2", "x-api-key": "hunter2" },
        jobs: [{ data: { recipientPhone: "+33612345678", content: { text: "Bonjour", audioUrl: "https://cdn" } } }],
        twilio: { authToken: "hunter2", to: "+33612345678", from: "+33612345678" },
        sender_phone: "+33612345678",
        API_SECRET: "hunter2",
        attempt: 2,
      },
      "sent",
    ),
  );
  expect(line).not.toMatch(SECRETS);
  expect(JSON.parse(line)).toMatchObject({
    level: "info",
    msg: "sent",
    attempt: 2,
    jobs: [{ data: { recipientPhone: "[redacted]" } }],
  });
});

test("child bindings are redacted as well", () => {
  expect(logged((log) => log.child({ phone: "+33612345678", jobId: "7" }).info("x"))).not.toMatch(SECRETS);
});

test("an error keeps type, message, code, stack and cause, and nothing of the request it came from", () => {
  const cause = Object.assign(new TypeError("refused +33612345678"), { response: { data: "Bonjour" } });
  const error = Object.assign(new Error("at redis://user:hunter2@host", { cause }), {
    code: "ECONNRESET",
    config: { headers: { authorization: "hunter2" }, data: "Bonjour" },
    request: { body: "Bonjour" },
  });
  const line = logged((log) => log.error({ err: error, nested: { reason: error } }, "failed"));
  expect(line).not.toMatch(SECRETS);
  expect(JSON.parse(line)).toMatchObject({
    err: {
      type: "Error",
      code: "ECONNRESET",
      message: "at redis://[redacted]@host",
      stack: expect.stringContaining("logger.test.ts"),
      cause: { type: "TypeError", message: "refused [number]" },
    },
    nested: { reason: { type: "Error" } },
  });
});

test("an error logged by itself, and one that is a plain object, keep their message", () => {
  expect(JSON.parse(logged((log) => log.error(new Error("boom"))))).toMatchObject({
    msg: "boom",
    err: { message: "boom" },
  });
  const postgrest = { message: "duplicate key", code: "23505", details: "Key (phone)=(+33612345678)" };
  const line = logged((log) => log.error({ err: postgrest }, "x"));
  expect(JSON.parse(line).err).toEqual({ type: "Object", message: "duplicate key", code: "23505" });
});

test("instances of classes are named, not walked, and cycles end", () => {
  class Socket {
    secret = "hunter2";
  }
  const cyclic: Record<string, unknown> = { socket: new Socket(), bytes: Buffer.from("hunter2") };
  cyclic.self = cyclic;
  const line = logged((log) => log.info(cyclic, "x"));
  expect(line).not.toMatch(SECRETS);
  expect(JSON.parse(line)).toMatchObject({ socket: "[Socket]", bytes: "[Buffer]" });
});
