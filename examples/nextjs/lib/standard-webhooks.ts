import { createHmac, timingSafeEqual } from "node:crypto";

/** Older and younger ones may be somebody's who has recorded one, seconds. */
const TOLERANCE_SECONDS = 300;

/**
 * Whether a webhook is the worker's: https://www.standardwebhooks.com. The package `standardwebhooks` does the same.
 *
 * @param body as it came: parsed and written again it has another signature
 * @param secret `whsec_…`, as the endpoint was given it
 */
export function isSigned(headers: Headers, body: string, secret: string, nowMs = Date.now()): boolean {
  const id = headers.get("webhook-id");
  const timestamp = headers.get("webhook-timestamp");
  const signatures = headers.get("webhook-signature");
  if (id === null || timestamp === null || signatures === null || !/^\d+$/.test(timestamp)) return false;
  if (Math.abs(nowMs / 1000 - Number(timestamp)) > TOLERANCE_SECONDS) return false;

  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest();
  // Several while a secret is being replaced.
  return signatures.split(" ").some((signature) => {
    const [version, text = ""] = signature.split(",", 2);
    const given = Buffer.from(text, "base64");
    return version === "v1" && given.length === expected.length && timingSafeEqual(given, expected);
  });
}
