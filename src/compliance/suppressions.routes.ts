import type { CountryCode } from "libphonenumber-js";
import { z } from "zod";
import { parsePhone } from "../core/phone.ts";
import { invalidRequest, notFound } from "../core/problem.ts";
import { refusalOf, REFUSALS } from "../core/refusals.ts";
import { route, type Route } from "../core/route.ts";
import { shortText, timestamp, UNSTORABLE, unstorable } from "../core/text.ts";
import { SUPPRESSION_SOURCES, type NewSuppression } from "../store/compliance.ts";
import type { Store } from "../store/store.ts";
import { csvLine, readCsv, unguarded, type LineFault } from "./csv.ts";

const DEFAULT_COUNTRY = "FR";
const MAX_REASON = 500;
const MAX_FILE_BYTES = 8 * 1024 * 1024;
/** Entries that one request to the database takes. */
const BATCH = 1000;
const MAX_EXPORTED = 10_000;

const suppressionSchema = z.object({
  accountId: z.string().nullable().describe("Whose messages are held back; null: everybody's"),
  phone: z.string().nullable().describe("E.164; null for somebody who was erased, of whom only a salted hash is left"),
  source: z
    .enum(SUPPRESSION_SOURCES)
    .describe("`reply`: the person wrote STOP, and START takes it back; nothing else is taken back by a reply"),
  reason: z.string().nullable().describe("What you gave as a reason"),
  createdAt: timestamp(),
});

const EXAMPLE = {
  accountId: "acc_456",
  phone: "+33612345678",
  source: "manual",
  reason: "asked by e-mail",
  createdAt: "2026-01-08T09:30:00.000Z",
};

/** Of an exported file. */
const COLUMNS = ["phone", "accountId", "reason", "source", "createdAt"] as const;

const phone = shortText(100).describe("E.164, or the account's national format (without an account: French)");
const accountId = shortText(200);
const cursor = z
  .string()
  .regex(/^\d{1,18}$/, "is not a cursor that this route gave")
  .optional();
const filterSchema = z.object({
  accountId: accountId
    .optional()
    .describe("Only what this account has on the list itself; with `phone` also what holds for every account"),
  everybody: z.enum(["true", "false"]).default("false").describe("`true`: only what holds for every account"),
  phone: phone.optional().describe("Only this number; somebody who was erased is found, too"),
  cursor,
});

/** The list of those who must not be contacted: one for each account, and one that holds for all of them. */
export function suppressionRoutes({ store }: { store: Pick<Store, "account" | "compliance"> }): Route[] {
  const e164 = async (text: string, account: string | undefined, pointer: string): Promise<string> => {
    const country = account === undefined ? undefined : (await store.account(account))?.defaultCountry;
    const parsed = parsePhone(text, (country ?? DEFAULT_COUNTRY) as CountryCode);
    if (!parsed.ok) throw invalidRequest([{ pointer, detail: parsed.detail }]);
    return parsed.e164;
  };
  const pageOf = async (query: z.output<typeof filterSchema> & { limit: number }) =>
    store.compliance.suppressions({
      accountId: query.accountId,
      everybody: query.everybody === "true",
      phone: query.phone === undefined ? undefined : await e164(query.phone, query.accountId, "/query/phone"),
      cursor: query.cursor,
      limit: query.limit,
    });

  return [
    route({
      method: "post",
      path: "/api/suppressions",
      tag: "Compliance",
      summary: "Contact somebody never again",
      description:
        "From the moment of the answer nothing more is sent to the number, not even what is queued already. Without " +
        "`accountId` that holds for every account. Adding a number that is there already changes only its reason; one that a " +
        "reply has stopped can from then on not be started again by a reply.",
      body: z.strictObject({
        phone,
        accountId: accountId.optional().describe("Default: every account"),
        reason: shortText(MAX_REASON).optional(),
      }),
      bodyExample: { phone: "+33612345678", accountId: "acc_456", reason: "asked by e-mail" },
      responses: {
        200: { description: "It is on the list.", schema: suppressionSchema, example: EXAMPLE },
        422: REFUSALS[422]!,
      },
      async handle({ body }) {
        const number = await e164(body.phone, body.accountId, "/phone");
        const entry = { accountId: body.accountId, phone: number, source: "manual", reason: body.reason } as const;
        const [added] = await store.compliance.suppress([entry]);
        if (!added) throw refusalOf("unknown_account", "/accountId");
        return { status: 200, body: added.suppression };
      },
    }),

    route({
      method: "get",
      path: "/api/suppressions",
      tag: "Compliance",
      summary: "Who must not be contacted",
      query: filterSchema.extend({ limit: z.coerce.number().int().min(1).max(1000).default(100) }),
      responses: {
        200: {
          description: "In the order in which they were added. Give `nextCursor` back to go on.",
          schema: z.object({ suppressions: z.array(suppressionSchema), nextCursor: z.string().nullable() }),
          example: { suppressions: [EXAMPLE], nextCursor: null },
        },
      },
      async handle({ query }) {
        const page = await pageOf(query);
        return { status: 200, body: { suppressions: page.suppressions, nextCursor: page.nextCursor ?? null } };
      },
    }),

    route({
      method: "delete",
      path: "/api/suppressions",
      tag: "Compliance",
      summary: "Take a number off the list",
      description:
        "Takes off one entry: the account's own, or, without `accountId`, the one that holds for everybody. Somebody who was " +
        "erased is on the list for everybody, and can be taken off by the number.",
      query: z.object({ phone, accountId: accountId.optional() }),
      responses: {
        200: {
          description: "It is off the list.",
          schema: z.object({ accountId: z.string().nullable(), phone: z.string() }),
          example: { accountId: "acc_456", phone: "+33612345678" },
        },
        404: { description: "It is not on the list." },
      },
      async handle({ query: { phone: given, accountId: account } }) {
        const number = await e164(given, account, "/query/phone");
        if (!(await store.compliance.lift(account, number))) throw notFound("suppression of", given);
        return { status: 200, body: { accountId: account ?? null, phone: number } };
      },
    }),

    route({
      method: "post",
      path: "/api/suppressions/import",
      tag: "Compliance",
      summary: "Put a file's numbers on the list",
      description:
        "A CSV file whose first line names its columns: `phone`, and if you like `accountId` and `reason`; others are left " +
        "alone. Separated by commas, semicolons or tabs; at most 100,000 lines and 8 MiB. Good lines are taken at once, since " +
        "who is on the list must not be contacted while the file is mended; each faulty line is reported, and the whole " +
        "file can be sent again.",
      query: z.object({
        accountId: accountId.optional().describe("For lines without an account of their own; default: every account"),
      }),
      rawBody: {
        maxBytes: MAX_FILE_BYTES,
        contentTypes: ["text/csv"],
        example: "phone,accountId,reason\n+33612345678,acc_456,asked by e-mail\n06 12 34 56 79,,\n",
      },
      responses: {
        200: {
          description: "What the good lines say is on the list.",
          schema: z.object({
            taken: z.number().int().describe("Good lines"),
            added: z.number().int().describe("Of these, numbers that were not on the list before"),
            faults: z
              .array(z.object({ line: z.number().int(), detail: z.string() }))
              .describe("Every line that was not taken; the first line of the file is 1"),
          }),
          example: { taken: 2, added: 1, faults: [{ line: 4, detail: "phone: The number is empty." }] },
        },
      },
      async handle({ query, body }) {
        const faults: LineFault[] = [];
        const { columns, lines } = readCsv(body.bytes, faults);
        if (!columns.includes("phone")) {
          throw invalidRequest([
            { pointer: "", detail: 'the first line must name the columns; none of them is "phone"' },
          ]);
        }
        const countries = new Map<string | undefined, string | undefined>([[undefined, DEFAULT_COUNTRY]]);
        const countryOf = async (account: string | undefined): Promise<string | undefined> => {
          if (!countries.has(account)) countries.set(account, (await store.account(account ?? ""))?.defaultCountry);
          return countries.get(account);
        };
        let taken = 0;
        let added = 0;
        for (let start = 0; start < lines.length; start += BATCH) {
          const entries: NewSuppression[] = [];
          for (const { line, cells } of lines.slice(start, start + BATCH)) {
            const entry = await entryOf(cells, query.accountId, countryOf);
            if (typeof entry === "string") faults.push({ line, detail: entry });
            else entries.push(entry);
          }
          const answers = await store.compliance.suppress(entries);
          taken += answers.length;
          added += answers.filter((answer) => answer?.added).length;
        }
        return { status: 200, body: { taken, added, faults: faults.toSorted((a, b) => a.line - b.line) } };
      },
    }),

    route({
      method: "get",
      path: "/api/suppressions/export",
      tag: "Compliance",
      summary: "The list as a CSV file",
      description:
        "The columns are `phone`, `accountId` (empty: everybody), `reason`, `source`, `createdAt`. At most `limit` entries; " +
        "where there are more, the header `X-Next-Cursor` says from where to go on, and the pages that follow have no line " +
        "of names, so that they can be put together as they are. Who was erased is not in it.",
      query: filterSchema.extend({ limit: z.coerce.number().int().min(1).max(MAX_EXPORTED).default(MAX_EXPORTED) }),
      responses: {
        200: {
          description: "In UTF-8.",
          headers: { "X-Next-Cursor": "Where to go on; absent where there is nothing more." },
          mediaType: "text/csv",
          schema: z.string(),
          example: csvLine(COLUMNS) + csvLine(COLUMNS.map((name) => EXAMPLE[name])),
        },
      },
      async handle({ query }) {
        const page = await pageOf(query);
        const lines = page.suppressions
          .filter((each) => each.phone !== null)
          .map((each) => csvLine(COLUMNS.map((name) => each[name])));
        const names = query.cursor === undefined ? csvLine(COLUMNS) : "";
        return {
          status: 200,
          body: names + lines.join(""),
          headers: {
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": 'attachment; filename="suppressions.csv"',
            ...(page.nextCursor === undefined ? {} : { "X-Next-Cursor": page.nextCursor }),
          },
        };
      },
    }),
  ];
}

/** A line's entry, or what is wrong with it. */
async function entryOf(
  cells: ReadonlyMap<string, string>,
  fallback: string | undefined,
  countryOf: (account: string | undefined) => Promise<string | undefined>,
): Promise<NewSuppression | string> {
  const account = cells.get("accountid") ?? fallback;
  const reason = cells.get("reason");
  if (account !== undefined && (account.length > 200 || unstorable(account))) return "accountId: names no account.";
  if (reason !== undefined && reason.length > MAX_REASON) return `reason: must have at most ${MAX_REASON} characters.`;
  if (reason !== undefined && unstorable(reason)) return `reason: ${UNSTORABLE}.`;
  const country = await countryOf(account);
  if (country === undefined) return "accountId: names no account.";
  const parsed = parsePhone((cells.get("phone") ?? "").slice(0, 100), country as CountryCode);
  if (!parsed.ok) return `phone: ${parsed.detail}`;
  const words = reason === undefined ? undefined : unguarded(reason);
  return { accountId: account, phone: parsed.e164, source: "import", reason: words };
}
