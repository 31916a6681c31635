import { createHmac, randomUUID } from "node:crypto";
import { Agent, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { serveTask } from "../child.ts";

/** Twilio's reports on these messages, one each, so many a second whatever the answers take. */
export interface WebhooksTask {
  serviceUrl: string;
  /** Where Twilio believes the service to be: it is what is signed. */
  publicUrl: string;
  accountSid: string;
  authToken: string;
  messages: { messageId: string; attemptId: string; to: string }[];
  perSecond: number;
  /** Of the first, whose times do not count. */
  warmUpMs: number;
}

export interface WebhooksResult {
  /** Sorted, milliseconds. */
  times: number[];
  /** Answers other than 204. */
  refused: number;
}

const CONNECTIONS = 64;

await serveTask<WebhooksTask>(async (task) => {
  const { serviceUrl, publicUrl, accountSid, authToken, messages, perSecond, warmUpMs } = task;
  // In turns, so that no connection is idle for so long that the service closes it in the middle of a call.
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS, scheduling: "fifo" });
  const calls = messages.map(({ messageId, attemptId, to }) => {
    const path = `/webhooks/twilio/status?message=${messageId}&attempt=${attemptId}`;
    const form: Record<string, string> = {
      AccountSid: accountSid,
      MessageSid: `SM${randomUUID().replaceAll("-", "")}`,
      MessageStatus: "delivered",
      To: to,
    };
    const names = Object.keys(form).toSorted();
    const signed = names.reduce((text, name) => text + name + form[name], publicUrl + path);
    const signature = createHmac("sha1", authToken).update(signed, "utf8").digest("base64");
    return { path, signature, body: new URLSearchParams(form).toString() };
  });

  const post = ({ path, signature, body }: (typeof calls)[number]): Promise<number> =>
    new Promise((resolve, reject) => {
      const headers = {
        "content-type": "application/x-www-form-urlencoded",
        "content-length": Buffer.byteLength(body),
        "x-twilio-signature": signature,
      };
      const outgoing = request(serviceUrl + path, { method: "POST", agent, headers });
      outgoing.once("error", reject);
      outgoing.once("response", (response) => {
        response.resume();
        response.once("end", () => resolve(response.statusCode ?? 0));
      });
      outgoing.end(body);
    });

  return async (): Promise<WebhooksResult> => {
    const begun = performance.now();
    const times: number[] = [];
    let refused = 0;
    const answered = calls.map(async (call, i) => {
      const dueMs = (i * 1000) / perSecond;
      await delay(Math.max(0, begun + dueMs - performance.now()));
      const sent = performance.now();
      if ((await post(call)) !== 204) refused += 1;
      if (dueMs >= warmUpMs) times.push(performance.now() - sent);
    });
    await Promise.all(answered);
    agent.destroy();
    return { times: times.toSorted((a, b) => a - b), refused };
  };
});
