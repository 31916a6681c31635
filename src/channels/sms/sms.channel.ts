import { z } from "zod";
import type { Channel, ChannelSettings, ContentTerms } from "../channel.ts";
import { sandboxProvider } from "../sandbox.ts";
import { isName, optionalText, textContentOf, textSchema } from "../text.ts";
import type { SmsContent } from "./content.ts";
import { previewRoute, type Prepared } from "./preview.routes.ts";
import { twilioProvider } from "./providers/twilio/twilio.provider.ts";
import { vonageProvider } from "./providers/vonage/vonage.provider.ts";
import { countSegments } from "./segments.ts";
import {
  closedToNames,
  DEFAULT_STOP_NOTICE,
  noticeFor,
  readStopNotices,
  type Notice,
  type StopNotices,
} from "./stop-notice.ts";
import { transliterate } from "./transliterate.ts";

/** Twilio's limit for a body: https://www.twilio.com/docs/api/errors/21617 */
const MAX_LENGTH = 1600;

const env = {
  SMS_MAX_SEGMENTS: z.coerce
    .number()
    .int()
    .min(1)
    .max(25)
    .default(11)
    .describe("Segments that an SMS may take, each of which is charged; 11 hold 1600 characters of GSM-7"),
  SMS_STOP_NOTICE: z
    .string()
    .default(DEFAULT_STOP_NOTICE)
    .superRefine((value, context) => {
      const read = readStopNotices(value);
      if (typeof read === "string") context.addIssue({ code: "custom", message: read });
    })
    .describe(
      "What a marketing SMS says of how to stop further ones, where the account's policy asks for it (docs/compliance.md): entries between semicolons, `FR=…` for a country and its territories, one without for all others; `none` for none",
    ),
  SMS_TRANSLITERATE: z
    .stringbool()
    .default(false)
    .describe(
      "`true` replaces the characters of an SMS that GSM-7 does not have by their likeness (’ by ', ê by e) where that makes all of it GSM-7, which takes less than half the segments",
    ),
};

const settings: ChannelSettings<typeof env> = {
  env,
  apply({ SMS_MAX_SEGMENTS: maxSegments, SMS_STOP_NOTICE, SMS_TRANSLITERATE: toGsm }) {
    const notices = readStopNotices(SMS_STOP_NOTICE) as StopNotices;
    /** The text as it is sent: whatever else is to stand in it belongs here, so that it is counted. */
    const prepare = (given: string, terms: ContentTerms | undefined): Prepared => {
      const { notice, fault } = noticeOf(given, terms, notices);
      const whole = notice === undefined ? given : `${given}\n${notice}`;
      const likeness = toGsm ? transliterate(whole) : whole;
      // `…` becomes three characters.
      const text = likeness.length > MAX_LENGTH ? whole : likeness;
      const count = countSegments(text);
      return { text, notice, count, fault: fault ?? lengthFault(text, count, notice) };
    };
    const lengthFault = (
      { length }: string,
      { segments, encoding }: Prepared["count"],
      notice: string | undefined,
    ): string | undefined => {
      if (segments <= maxSegments && length <= MAX_LENGTH) return undefined;
      const whole = notice === undefined ? "The message" : "The message, with how to stop further ones,";
      return length > MAX_LENGTH
        ? `${whole} has ${length} characters; at most ${MAX_LENGTH} are allowed.`
        : `${whole} takes ${segments} segments of ${encoding}; at most ${maxSegments} are allowed.`;
    };
    return {
      contentOf({ message }, terms) {
        const given = textContentOf(message, MAX_LENGTH);
        if ("faults" in given) return given;
        const { text, count, fault } = prepare(given.content.text, terms);
        if (fault !== undefined) return { faults: [{ pointer: "/message", detail: fault }] };
        const content: SmsContent = { text, segments: count.segments };
        return { content };
      },
      closedTo: ({ oneWay, stopNoticeOf }) => (oneWay ? closedToNames(notices, stopNoticeOf) : []),
      routes: ({ termsOf }) => [previewRoute({ prepare, termsOf, maxSegments, maxLength: MAX_LENGTH })],
    };
  },
};

/** Of whom nobody knows whether they can be answered, a name cannot. */
function noticeOf(text: string, terms: ContentTerms | undefined, notices: StopNotices): Notice {
  if (terms?.stopNotice === undefined) return {};
  const { country, sender, oneWay, stopNotice: notice } = terms;
  const answerable = sender === undefined ? !oneWay : !isName(sender);
  return noticeFor(text, { country, notice, answerable }, notices);
}

export const smsChannel: Channel<SmsContent> = {
  name: "sms",
  queue: "sms",
  providerVariable: "SMS_PROVIDER",
  providers: [twilioProvider, vonageProvider, sandboxProvider("sms")],
  settings,
  content: z.strictObject({ text: textSchema(MAX_LENGTH), segments: z.int().positive().exactOptional() }),
  contentOf: ({ message }) => textContentOf(message, MAX_LENGTH),
  single: {
    path: "/api/phone/sms",
    summary: "Send one SMS",
    fields: { message: textSchema(MAX_LENGTH).describe("The text to send, 1 to 1600 characters.") },
    input: (body) => ({ message: optionalText(body["message"]) }),
    example: { message: "Bonjour, votre annonce est-elle toujours disponible ?" },
  },
};
