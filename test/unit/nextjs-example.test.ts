import { createHmac } from "node:crypto";
import { expect, test } from "vitest";
import { isSigned } from "../../examples/nextjs/lib/standard-webhooks.ts";

// The example of https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const AT = 1_614_265_330;
const BODY = '{"test": 2432232314}';
const SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

function signed(changes: Record<string, string> = {}, body = BODY, nowMs = AT * 1000): boolean {
  const headers = { "webhook-id": ID, "webhook-timestamp": String(AT), "webhook-signature": SIGNATURE, ...changes };
  return isSigned(new Headers(headers), body, SECRET, nowMs);
}

test("what the specification signs → is the worker's, also beside the signature of another secret", () => {
  expect(signed()).toBe(true);
  const other = createHmac("sha256", "other").update("x").digest("base64");
  expect(signed({ "webhook-signature": `v1,${other} ${SIGNATURE}` })).toBe(true);
});

test.each([
  ["another body", signed({}, `${BODY} `)],
  ["another id", signed({ "webhook-id": "msg_other" })],
  ["another time", signed({ "webhook-timestamp": String(AT + 1) })],
  ["a signature of another kind", signed({ "webhook-signature": SIGNATURE.replace("v1,", "v1a,") })],
  ["no signature", signed({ "webhook-signature": "" })],
  ["one that was recorded", signed({}, BODY, (AT + 301) * 1000)],
  ["one from the future", signed({}, BODY, (AT - 301) * 1000)],
])("%s → is not", (_, result) => expect(result).toBe(false));
