import { z } from "zod";
import { REFUSALS } from "../../core/refusals.ts";
import { route, type Route } from "../../core/route.ts";
import { shortText } from "../../core/text.ts";
import type { ChannelRouteDeps, ContentTerms } from "../channel.ts";
import { textSchema } from "../text.ts";
import type { countSegments } from "./segments.ts";

/** A text as it is sent, what was put at its end, what it costs, and why it cannot be sent. */
export interface Prepared {
  text: string;
  notice: string | undefined;
  count: ReturnType<typeof countSegments>;
  fault: string | undefined;
}

export interface PreviewDeps extends Pick<ChannelRouteDeps, "termsOf"> {
  prepare(text: string, terms: ContentTerms | undefined): Prepared;
  maxSegments: number;
  maxLength: number;
}

/** What an SMS would cost, before it is sent. */
export function previewRoute({ prepare, termsOf, maxSegments, maxLength }: PreviewDeps): Route {
  return route({
    method: "post",
    path: "/api/phone/sms/preview",
    tag: "Messages",
    summary: "Count the segments of an SMS",
    description: "Sends nothing. Carriers charge each segment.",
    body: z.strictObject({
      message: textSchema(maxLength).describe("The text to send, 1 to 1600 characters."),
      category: z
        .enum(["marketing"])
        .optional()
        .describe(
          "As every message of a hunt is: with how to stop further ones, where the account's policy asks for it",
        ),
      accountId: shortText(200).optional().describe("Whose policy; default: the service's"),
      recipientPhone: shortText(100).optional().describe("Whose country; default: the account's"),
      senderPhone: shortText(100).optional().describe("Number to send from; default: the provider's"),
    }),
    bodyExample: { message: "L’annonce est-elle toujours d’actualité ?" },
    responses: {
      200: {
        description: "How it would be sent.",
        schema: z.object({
          text: z.string().describe("As it would be sent, with what forces UCS-2 replaced if the service is set to"),
          stopNotice: z.string().nullable().describe("What was put at its end"),
          encoding: z.enum(["GSM-7", "UCS-2"]).describe("UCS-2 as soon as one character is not in GSM-7"),
          segments: z.int().describe("Messages that are charged"),
          characters: z
            .int()
            .describe("As they count: in GSM-7 `^{}\\[~]|€` are two, in UCS-2 an emoji is two or more"),
          perSegment: z.int().describe("Characters that each of these segments holds"),
          maxSegments: z.int().describe("More are refused"),
          allowed: z.boolean(),
          detail: z.string().nullable().describe("Why it is not allowed"),
        }),
        example: {
          text: "L’annonce est-elle toujours d’actualité ?",
          stopNotice: null,
          encoding: "UCS-2",
          segments: 1,
          characters: 41,
          perSegment: 70,
          maxSegments: 11,
          allowed: true,
          detail: null,
        },
      },
      422: REFUSALS[422]!,
    },
    async handle({ body: { message, category, ...given } }) {
      const prepared = prepare(message, category && (await termsOf(given)));
      const { text, notice: stopNotice = null, count, fault: detail = null } = prepared;
      return { status: 200, body: { text, stopNotice, ...count, maxSegments, allowed: detail === null, detail } };
    },
  });
}
