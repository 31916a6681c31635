import { setTimeout as delay } from "node:timers/promises";
import { startFakeTwilioVoice, UNREACHED } from "../../../test/fakes/twilio-voice/fake-twilio-voice.ts";
import type { Performance } from "../../../test/fakes/twilio-voice/fake-twilio-voice.ts";
import { twilioError } from "./twilio.ts";
import { attemptOf } from "./ticket.ts";
import type { StartVendor } from "./postman.ts";
import type { Accepted } from "./vendor.ts";

/** From taking a call until a voicemail picks up, at most. */
const RINGS_MS = 1500;
/** A human picks up now and then: nothing is said, and the message has failed. */
const MACHINE = "machine_end_beep";

/** Calls through Twilio: the machine picks up, asks for the TwiML at its signed address, and the end is reported. */
export const startTwilioVoice: StartVendor = async (postman) => {
  const fake = await startFakeTwilioVoice();
  const accepted: Accepted[] = [];
  fake.via = postman.via;
  fake.pause = (seconds) => delay(seconds * 1000);
  fake.onAccept = (call) => {
    const entry: Accepted = { to: call.to, attemptId: attemptOf(call.form?.["StatusCallback"]), told: [] };
    accepted.push(entry);
    if (postman.fails) {
      const ended = async (): Promise<number> => (await fake.end(call, "completed", "human")).at(-1) ?? 0;
      return postman.report(entry, "failed", ended);
    }
    const answered = postman.within(RINGS_MS).then(() => {
      entry.askedAt = Date.now();
      return fake.pickUp(call, MACHINE);
    });
    postman.after(answered, (performance) => {
      entry.heard = heardIn(performance);
      entry.heardAt = Date.now();
      entry.by = performance.by;
      entry.reached = performance.statuses.some((status) => status !== UNREACHED);
      postman.report(
        entry,
        entry.heard === "" ? "failed" : "delivered",
        async () => (await fake.end(call, "completed", MACHINE)).at(-1) ?? 0,
      );
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

/** What of ours the machine recorded; nothing but silence, or Twilio's own error: an empty text. */
function heardIn({ verbs }: Performance): string {
  return verbs
    .flatMap((verb) => (verb.verb === "Say" ? [verb.text] : verb.verb === "Play" ? [verb.url] : []))
    .join(" ");
}
