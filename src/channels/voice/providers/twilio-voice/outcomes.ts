/** What a call came to, as a receipt says it. */
export type CallOutcome = { status: "delivered"; unlessInstructed: string } | { status: "failed"; code: string };

/** AMD with `DetectMessageEnd` answers these when the greeting is over and the voicemail records. */
const RECORDING = new Set(["machine_end_beep", "machine_end_silence", "machine_end_other"]);

/** Whether the message is to be left; everybody and everything else is hung up on. */
export function isRecording(answeredBy: string | undefined): boolean {
  return answeredBy !== undefined && RECORDING.has(answeredBy);
}

/**
 * How a call ended, from its last status callback; undefined while it goes on. Each failure has a code of its own, so that
 * a hunt can tell who may be tried another way:
 *
 * | code | what happened |
 * |---|---|
 * | `twilio_busy`, `twilio_no_answer` | nobody and nothing picked up |
 * | `twilio_call_failed` | the call could not be put through, mostly because the number does not exist |
 * | `twilio_canceled` | somebody canceled it at Twilio |
 * | `twilio_answered_by_human`, `_fax`, `_unknown` | picked up by something that records nothing; hung up at once |
 * | `twilio_withdrawn` | a machine picked up, but the message was not to be left any more (`webhooks.ts` reports it) |
 * | `twilio_no_instructions` | a machine picked up, but Twilio could not learn from us what to leave |
 * | `twilio_not_played` | a machine picked up, but Twilio could not say or play what it was told (`webhooks.ts` reports it) |
 * | `twilio_not_detected` | it ended before anybody could tell who had picked up |
 *
 * A machine alone does not make it `delivered`: Twilio reports `completed` as well when it has left nothing.
 *
 * https://www.twilio.com/docs/voice/api/call-resource#statuscallback, https://www.twilio.com/docs/voice/answering-machine-detection
 */
export function outcomeOf(callStatus: string | undefined, answeredBy: string | undefined): CallOutcome | undefined {
  switch (callStatus) {
    case "completed":
      if (isRecording(answeredBy)) return { status: "delivered", unlessInstructed: "twilio_no_instructions" };
      return failed(answeredBy ? `answered_by_${word(answeredBy)}` : "not_detected");
    case "busy":
      return failed("busy");
    case "no-answer":
      return failed("no_answer");
    case "failed":
      return failed("call_failed");
    case "canceled":
      return failed("canceled");
    default:
      return undefined;
  }
}

const failed = (what: string): CallOutcome => ({ status: "failed", code: `twilio_${what}` });

const word = (text: string): string =>
  text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "_")
    .slice(0, 40);
