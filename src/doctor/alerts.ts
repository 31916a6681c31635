import type { FetchPolicy } from "../core/addresses.ts";
import { messageOf } from "../core/errors.ts";
import { guardedPost } from "../core/guarded-post.ts";
import { ok, warning, type Finding } from "./finding.ts";

const CHECK = "variable ALERT_WEBHOOK_URL";
const ADVICE = "Compare it with the webhook's own page; until then nobody is told of alerts.";
/** Slack's own for a webhook that was withdrawn: https://api.slack.com/messaging/webhooks#handling_errors */
const WITHDRAWN = new Set([401, 403, 404, 410]);

/** Whether somebody would be told: a message without a text comes to nothing, and is answered all the same. Never rejects. */
export async function checkAlerts(url: string, policy?: FetchPolicy): Promise<Finding[]> {
  try {
    const headers = { "content-type": "application/json", "user-agent": "auto-prospect" };
    const { status } = await guardedPost(url, { headers, body: "{}", maxAnswerBytes: 1000, policy });
    const isGone = WITHDRAWN.has(status) || status >= 500 || (status >= 300 && status <= 399);
    return [isGone ? warning(CHECK, `answers with status ${status}`, ADVICE) : ok(CHECK, "answers")];
  } catch (error) {
    return [warning(CHECK, `cannot be reached: ${messageOf(error)}`, ADVICE)];
  }
}
