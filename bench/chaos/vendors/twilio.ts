import { startFakeTwilio } from "../../../test/fakes/twilio/fake-twilio.ts";
import { PUBLIC_URL, type StartVendor } from "./postman.ts";
import type { Accepted } from "./vendor.ts";

const STATUS = { sent: "sent", delivered: "delivered", failed: "undelivered" } as const;
const INBOUND = `${PUBLIC_URL}/webhooks/twilio/inbound`;

/** SMS through Twilio. */
export const startTwilio: StartVendor = async (postman) => {
  const fake = await startFakeTwilio();
  const accepted: Accepted[] = [];
  fake.via = postman.via;
  fake.onAccept = (message) => {
    const attemptId = new URL(message.statusCallback ?? PUBLIC_URL).searchParams.get("attempt") ?? "";
    const entry: Accepted = { to: message.to, attemptId, told: [] };
    accepted.push(entry);
    for (const status of ["sent", postman.fails ? "failed" : "delivered"] as const) {
      postman.report(entry, status, async () => (await fake.report(message, STATUS[status])).status);
    }
    postman.reply("twilio", `${message.sid}reply`, message.to, async ({ id, text }) => {
      return (await fake.reply(INBOUND, message.to, text, { MessageSid: id })).status;
    });
  };
  return {
    url: fake.url,
    behave(answer) {
      fake.otherwise(answer.kind === "error" ? twilioError(answer) : answer);
    },
    accepted: () => accepted,
    [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose](),
  };
};

/** As Twilio writes it: a code that begins with its status, such as 20429. */
export function twilioError({ status, retryAfterS }: { status: number; retryAfterS?: number }) {
  const headers = retryAfterS === undefined ? {} : { "retry-after": String(retryAfterS) };
  return { kind: "error", status, code: 20_000 + status, headers } as const;
}
