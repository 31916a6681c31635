import { z } from "zod";
import { route, type Route } from "../../core/route.ts";
import { textSchema } from "../text.ts";
import { countSegments } from "./segments.ts";

export interface PreviewDeps {
  /** The text as it would be sent. */
  prepare(text: string): string;
  maxSegments: number;
  maxLength: number;
}

/** What an SMS would cost, before it is sent. */
export function previewRoute({ prepare, maxSegments, maxLength }: PreviewDeps): Route {
  return route({
    method: "post",
    path: "/api/phone/sms/preview",
    tag: "Messages",
    summary: "Count the segments of an SMS",
    description: "Sends nothing. Carriers charge each segment.",
    body: z.object({ message: textSchema(maxLength).describe("The text to send, 1 to 1600 characters.") }),
    bodyExample: { message: "L’annonce est-elle toujours d’actualité ?" },
    responses: {
      200: {
        description: "How it would be sent.",
        schema: z.object({
          text: z.string().describe("As it would be sent, with what forces UCS-2 replaced if the service is set to"),
          encoding: z.enum(["GSM-7", "UCS-2"]).describe("UCS-2 as soon as one character is not in GSM-7"),
          segments: z.int().describe("Messages that are charged"),
          characters: z
            .int()
            .describe("As they count: in GSM-7 `^{}\\[~]|€` are two, in UCS-2 an emoji is two or more"),
          perSegment: z.int().describe("Characters that each of these segments holds"),
          maxSegments: z.int().describe("More are refused"),
          allowed: z.boolean(),
        }),
        example: {
          text: "L’annonce est-elle toujours d’actualité ?",
          encoding: "UCS-2",
          segments: 1,
          characters: 41,
          perSegment: 70,
          maxSegments: 11,
          allowed: true,
        },
      },
    },
    async handle({ body: { message } }) {
      const text = prepare(message);
      const count = countSegments(text);
      return { status: 200, body: { text, ...count, maxSegments, allowed: count.segments <= maxSegments } };
    },
  });
}
