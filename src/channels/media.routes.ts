import { randomUUID } from "node:crypto";
import { z } from "zod";
import type { Clock } from "../core/clock.ts";
import { ProblemError } from "../core/problem.ts";
import { refusalOf, REFUSALS } from "../core/refusals.ts";
import { route, type Route } from "../core/route.ts";
import { shortText } from "../core/text.ts";
import type { Store } from "../store/store.ts";
import { fileNameFault, HEAD_BYTES, MAX_MEDIA_BYTES, MEDIA_TYPES, typeOfBytes } from "./media.ts";
import { MEDIA_LIFETIME_MS } from "../store/sessions.ts";

export interface MediaRoutesDeps {
  store: Pick<Store, "account" | "sessions">;
  clock: Clock;
}

const MISMATCH =
  "The file's first bytes are not those of its Content-Type. Send the type that it is; nothing is made into another.";

/** Uploads of files to be sent. */
export function mediaRoutes({ store, clock }: MediaRoutesDeps): Route[] {
  const fileName = z
    .string()
    .superRefine((value, context) => {
      const fault = fileNameFault(value);
      if (fault !== undefined) context.addIssue({ code: "custom", message: fault });
    })
    .meta({ minLength: 1, maxLength: 200 })
    .describe("The name under which a document is shown to its recipient");

  return [
    route({
      method: "post",
      path: "/api/media",
      tag: "Messages",
      summary: "Upload a file to send",
      description:
        "The body is the file itself, at most 16 MiB, with its own Content-Type. Give the answer's `mediaId` in place of " +
        "a `mediaUrl`, as often as you like until `expiresAt`; only the same account can.",
      query: z.object({
        accountId: shortText(200).describe("Whose file it is"),
        fileName: fileName.optional(),
      }),
      rawBody: { maxBytes: MAX_MEDIA_BYTES, contentTypes: MEDIA_TYPES },
      responses: {
        201: {
          description: "It is in the database.",
          schema: z.object({
            mediaId: z.uuid(),
            size: z.number().int().describe("Bytes"),
            contentType: z.string(),
            expiresAt: z.iso.datetime(),
          }),
          example: {
            mediaId: "7f1c9c1e-7a55-4b55-9c53-0a6d0b3f1a51",
            size: 48_213,
            contentType: "image/jpeg",
            expiresAt: "2026-01-16T09:30:00.000Z",
          },
        },
        403: REFUSALS[403]!,
        415: { description: "Not a file of a type that is taken.", codes: { media_mismatch: MISMATCH } },
        422: REFUSALS[422]!,
      },
      async handle({ query: { accountId, fileName: name }, body: { bytes, contentType } }) {
        if (typeOfBytes(bytes.subarray(0, HEAD_BYTES), contentType, [contentType]) === undefined) throw mismatch();
        const account = await store.account(accountId);
        if (!account) throw refusalOf("unknown_account", "/query/accountId");
        if (account.status === "suspended") throw refusalOf("suspended_account", "/query/accountId");
        const id = randomUUID();
        const expiresAt = new Date(clock.now() + MEDIA_LIFETIME_MS).toISOString();
        await store.sessions.keepMedia({ id, accountId, contentType, fileName: name, data: bytes });
        return { status: 201, body: { mediaId: id, size: bytes.length, contentType, expiresAt } };
      },
    }),
  ];
}

function mismatch(): ProblemError {
  return new ProblemError({
    status: 415,
    code: "media_mismatch",
    title: "The file is not what it says it is",
    detail: MISMATCH,
  });
}
