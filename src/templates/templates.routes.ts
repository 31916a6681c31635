import { randomUUID } from "node:crypto";
import { z } from "zod";
import { notFound } from "../core/problem.ts";
import { refusalOf, REFUSALS } from "../core/refusals.ts";
import { route, type Route } from "../core/route.ts";
import { shortText, timestamp } from "../core/text.ts";
import type { TemplateStore } from "../store/templates.ts";
import { templateText } from "./template.ts";

export interface TemplateRoutesDeps {
  templates: TemplateStore;
  /** Names of the channels that carry a text. */
  channels: readonly string[];
}

const templateSchema = z.object({
  templateId: z.uuid(),
  accountId: z.string(),
  name: z.string(),
  channel: z.string().nullable(),
  version: z.int().describe("The newest"),
  text: z.string().describe("Of that version"),
  createdAt: timestamp(),
  updatedAt: timestamp(),
  archivedAt: timestamp().nullable().describe("No hunt may use it from then on"),
});

const oneSchema = templateSchema.extend({
  versions: z
    .array(z.object({ version: z.int(), text: z.string(), createdAt: timestamp() }))
    .describe("The newest first, at most 100"),
});

const receiptSchema = z.object({ templateId: z.uuid(), version: z.int() });

const ID = "7f1c9c1e-7a55-4b55-9c53-0a6d0b3f1a51";
const EXAMPLE = {
  accountId: "acc_456",
  name: "Premier contact",
  channel: "sms",
  text: "Bonjour {{ name }}, votre bien à {{ city }} est-il libre ?",
};
/** For the documents. */
const TEMPLATE_EXAMPLE = {
  templateId: ID,
  ...EXAMPLE,
  version: 1,
  createdAt: "2026-01-08T09:30:00.000Z",
  updatedAt: "2026-01-08T09:30:00.000Z",
  archivedAt: null,
};
const NONE = { description: "The account has no such template." };

/** Texts of an account's own, for its hunts. A version never changes: what a hunt was accepted with, it says. */
export function templateRoutes({ templates, channels }: TemplateRoutesDeps): Route[] {
  const accountId = shortText(200);
  const body = z.strictObject({
    accountId,
    name: shortText(200).describe("For people"),
    channel: z
      .enum(channels as [string, ...string[]])
      .nullable()
      .default(null)
      .describe("null: for every channel that carries a text"),
    text: templateText.describe("Liquid; `{{ name }}` is the contact's variable of that name (docs/hunts.md)"),
  });
  const path = "/api/templates";
  const params = z.object({ templateId: z.uuid() });
  const query = z.object({ accountId });
  const shared = { tag: "Templates" } as const;

  return [
    route({
      ...shared,
      method: "post",
      path,
      summary: "Make a template",
      idempotent: true,
      body,
      bodyExample: EXAMPLE,
      responses: {
        201: {
          description: "Its first version.",
          schema: receiptSchema,
          example: { templateId: ID, version: 1 },
        },
        409: {
          description: "The key is taken.",
        },
        422: REFUSALS[422]!,
      },
      async handle({ body: { accountId, ...template }, idempotency }) {
        const answer = await templates.put(accountId, { newId: randomUUID() }, template, idempotency);
        if (answer.result === "done" || answer.result === "replay") return { status: 201, body: answer.response };
        throw refusalOf(answer.result === "conflict" ? "conflict" : "unknown_account", "/accountId");
      },
    }),
    route({
      ...shared,
      method: "get",
      path,
      summary: "An account's templates",
      query: query.extend({
        cursor: z.uuid().optional(),
        limit: z.coerce.number().int().min(1).max(1000).default(100),
      }),
      responses: {
        200: {
          description: "Those that are not archived. Give `nextCursor` back to go on.",
          schema: z.object({ templates: z.array(templateSchema), nextCursor: z.string().nullable() }),
          example: { templates: [TEMPLATE_EXAMPLE], nextCursor: null },
        },
      },
      async handle({ query: { accountId, cursor, limit } }) {
        const page = await templates.list(accountId, cursor, limit);
        const nextCursor = page.length === limit ? (page.at(-1)?.templateId ?? null) : null;
        return { status: 200, body: { templates: page, nextCursor } };
      },
    }),
    route({
      ...shared,
      method: "get",
      path: `${path}/:templateId`,
      summary: "A template with its versions",
      params,
      query,
      responses: {
        200: {
          description: "The template.",
          schema: oneSchema,
          example: {
            ...TEMPLATE_EXAMPLE,
            versions: [{ version: 1, text: EXAMPLE.text, createdAt: TEMPLATE_EXAMPLE.createdAt }],
          },
        },
        404: NONE,
      },
      async handle({ params: { templateId }, query: { accountId } }) {
        const template = await templates.read(accountId, templateId);
        if (!template) throw notFound("template", templateId);
        return { status: 200, body: { ...template, versions: await templates.versions(templateId) } };
      },
    }),
    route({
      ...shared,
      method: "put",
      path: `${path}/:templateId`,
      summary: "Give a template its next version",
      description: "Hunts that were accepted before keep theirs. The same text again is no new version.",
      params,
      body,
      bodyExample: EXAMPLE,
      responses: {
        200: {
          description: "The newest version.",
          schema: receiptSchema,
          example: { templateId: ID, version: 2 },
        },
        404: NONE,
      },
      async handle({ params: { templateId }, body: { accountId, ...template } }) {
        const answer = await templates.put(accountId, { id: templateId }, template, undefined);
        if (answer.result !== "done") throw notFound("template", templateId);
        return { status: 200, body: answer.response };
      },
    }),
    route({
      ...shared,
      method: "delete",
      path: `${path}/:templateId`,
      summary: "Archive a template",
      description: "No hunt may use it from then on. Those that were accepted before go on.",
      params,
      query,
      responses: {
        200: { description: "Archived.", schema: z.object({ templateId: z.uuid() }), example: { templateId: ID } },
        404: NONE,
      },
      async handle({ params: { templateId }, query: { accountId } }) {
        if (!(await templates.archive(accountId, templateId))) throw notFound("template", templateId);
        return { status: 200, body: { templateId } };
      },
    }),
  ];
}
