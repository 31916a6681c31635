import { startFakeVonage } from "../../../test/fakes/vonage/fake-vonage.ts";
import { PUBLIC_URL, type StartVendor } from "./postman.ts";
import type { Accepted } from "./vendor.ts";

const STATUS = { sent: "submitted", delivered: "delivered", failed: "undeliverable" } as const;
const INBOUND = `${PUBLIC_URL}/webhooks/vonage/inbound`;

/** SMS through Vonage. */
export const startVonage: StartVendor = async (postman) => {
  const fake = await startFakeVonage();
  const accepted: Accepted[] = [];
  fake.via = postman.via;
  fake.onAccept = (message) => {
    const entry: Accepted = { to: `+${message.to}`, attemptId: message.clientRef ?? "", told: [] };
    accepted.push(entry);
    for (const status of ["sent", postman.fails ? "failed" : "delivered"] as const) {
      postman.report(entry, status, async () => (await fake.report(message, STATUS[status])).status);
    }
    postman.reply("vonage", `${message.uuid}-reply`, entry.to, async ({ id, text }) => {
      return (await fake.reply(INBOUND, entry.to, text, { message_uuid: id })).status;
    });
  };
  return {
    url: fake.url,
    behave(answer) {
      if (answer.kind !== "error") return fake.otherwise(answer);
      const { status, retryAfterS } = answer;
      const headers = retryAfterS === undefined ? {} : { "retry-after": String(retryAfterS) };
      fake.otherwise({ kind: "error", status, headers });
    },
    accepted: () => accepted,
    [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose](),
  };
};
