import { type DropAnswer, startFakeVoicePartner } from "../../../test/fakes/voicepartner/fake-voicepartner.ts";
import { attemptOf } from "./ticket.ts";
import type { StartVendor } from "./postman.ts";
import type { Accepted, Answer } from "./vendor.ts";

/** Drops through VoicePartner, which reports each once by an unsigned address. */
export const startVoicePartner: StartVendor = async (postman) => {
  const fake = await startFakeVoicePartner();
  const accepted: Accepted[] = [];
  fake.via = postman.via;
  fake.onAccept = (campaign) => {
    const entry: Accepted = { to: campaign.phoneNumbers, attemptId: attemptOf(campaign.notifyUrl), told: [] };
    accepted.push(entry);
    const status = postman.fails ? "failed" : "delivered";
    postman.report(entry, status, async () => (await fake.report(campaign, status === "delivered")).at(-1) ?? 0);
  };
  return {
    url: fake.url,
    behave: (answer) => fake.otherwise(dropAnswerOf(answer)),
    accepted: () => accepted,
    [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose](),
  };
};

function dropAnswerOf(answer: Answer): DropAnswer {
  if (answer.kind === "malformed") return { kind: "malformed", accept: answer.accept === true };
  if (answer.kind !== "error") return answer;
  const { status, retryAfterS } = answer;
  const headers = retryAfterS === undefined ? {} : { "retry-after": String(retryAfterS) };
  return { kind: "answer", status, body: { message: "Refused" }, headers };
}
