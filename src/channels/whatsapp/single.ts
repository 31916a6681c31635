import type { z } from "zod";
import type { SingleSend } from "../channel.ts";
import { replyTo } from "./fields.ts";

interface Given {
  /** The last segment of the path. */
  path: string;
  summary: string;
  fields: z.ZodRawShape;
  example: Record<string, unknown>;
  check?: NonNullable<SingleSend["check"]>;
}

/** A single send whose fields are those of a hunt's contact. */
export function singleSend({ path, fields, ...rest }: Given): SingleSend {
  const quoted = replyTo.schema
    .optional()
    .describe("The message to quote: one of ours by its `messageId`, or an inbound reply by its id");
  const all = { ...fields, replyTo: quoted };
  return {
    path: `/api/whatsapp/${path}`,
    fields: all,
    inHunts: Object.keys(all).filter((name) => name !== "message"),
    // The schemas of `fields` have checked them.
    input: (body) => body,
    ...rest,
  };
}
