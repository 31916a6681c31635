import { refusalOf, REFUSALS } from "../core/refusals.ts";
import { route, type Route } from "../core/route.ts";
import type { PreviewStore } from "../store/previews.ts";
import type { Store } from "../store/store.ts";
import { huntBody, newHuntOf, type HuntBody, type HuntHead } from "./body.ts";
import type { ChannelDirectory } from "./contacts.ts";
import { templatesOf } from "./content.ts";
import { LINES_EXAMPLE, readHuntLines } from "./lines.ts";
import { createPreview, type PreviewDeps, type PreviewMaker } from "./preview.ts";
import { previewSchema } from "./preview.schema.ts";

export interface PreviewRoutesDeps extends Omit<PreviewDeps, "previews"> {
  store: Pick<Store, "accounts" | "templates"> & { readonly previews: PreviewStore };
  definitions: ChannelDirectory;
}

export function previewRoutes({ store, definitions, ...deps }: PreviewRoutesDeps): Route[] {
  const { schema: body, example: bodyExample, parse: parseBody, readHead } = huntBody(definitions, store, deps.clock);

  /** As a hunt would be refused. */
  const refuse = async (head: HuntHead) => {
    const { accountId, content, sendAt, lastSendAt } = head;
    const account = await store.accounts.read(accountId);
    if (!account) throw refusalOf("unknown_account", "/accountId");
    if (account.status === "suspended") throw refusalOf("suspended_account", "/accountId");
    const hunt = await store.previews.hunt(newHuntOf(head));
    if (hunt && hunt.accountId !== accountId) throw refusalOf("other_account", "/accountId");
    if (hunt?.cancelled) throw refusalOf("cancelled_hunt", "/huntId");
    if (hunt && hunt.differences.length > 0) throw refusalOf("differs", "", hunt.differences);
    const last = [sendAt, lastSendAt].filter((each) => each !== undefined).map((each) => Date.parse(each));
    if (hunt && Math.max(...last) >= Date.parse(hunt.expiresAt)) throw refusalOf("sends_too_late", "/huntId");
    const expiresAt = hunt?.expiresAt ?? head.expiresAt;
    if (expiresAt !== undefined && Date.parse(expiresAt) <= deps.clock.now()) throw refusalOf("ended", "/expiresAt");
    for (const id of templatesOf(content)) {
      if ((await store.templates.read(accountId, id))?.archivedAt) throw refusalOf("archived_template", "/templateId");
    }
    return { account, terms: hunt };
  };

  const begin = async (head: HuntHead): Promise<PreviewMaker> => {
    const { account, terms } = await refuse(head);
    return createPreview(head, account, { previews: store.previews, ...deps }, terms);
  };

  return [
    route({
      method: "post",
      path: "/api/hunt/preview",
      tag: "Hunts",
      summary: "What a hunt would do, without doing it",
      description:
        "Takes what `POST /api/hunt/execute` takes, with the same faults, and writes nothing. What happens until the hunt is " +
        "submitted can change it.",
      body,
      parseBody,
      bodyExample,
      stream: {
        description: "As that of `POST /api/hunt/execute`. Counted as it arrives: of its contacts none are held.",
        example: LINES_EXAMPLE,
        async handle({ body: lines }) {
          let maker: PreviewMaker | undefined;
          const { hunt } = await readHuntLines(lines, {
            channels: definitions,
            readHead,
            begin: async (head) => void (maker = await begin(head)),
            take: async (contacts) => maker?.take(contacts),
          });
          // What its contacts' own times are refused for.
          if (hunt.lastSendAt !== undefined) await refuse(hunt);
          return { status: 200, body: await maker!.result(hunt) };
        },
      },
      responses: {
        200: {
          description: "What would be sent, to how many, and who would be skipped.",
          schema: previewSchema,
          example,
        },
        ...REFUSALS,
        409: { ...REFUSALS[409], description: "It could not be submitted." },
      },
      async handle({ body: given }) {
        const { contacts, ...head } = given as unknown as HuntBody;
        const maker = await begin(head);
        await maker.take(contacts);
        return { status: 200, body: await maker.result(head) };
      },
    }),
  ];
}

const example = {
  huntId: "hunt_123",
  accountId: "acc_456",
  contacts: 2,
  send: 1,
  skipped: 1,
  byChannel: {
    sms: { send: 1, skipped: 1, standby: 0, segments: { total: 1, most: 1 }, credits: { needed: 1, available: 4200 } },
  },
  byVariant: {},
  reasons: { missing_variable: 1 },
  skips: [
    {
      adId: "ad_790",
      channel: "sms",
      recipientPhone: "+33*******79",
      reason: "missing_variable",
      detail: "name",
    },
  ],
  samples: [
    {
      adId: "ad_789",
      channel: "sms",
      recipientPhone: "+33*******78",
      variant: null,
      text: "Bonjour Mme Martin, votre bien est-il libre ?",
      segments: 1,
    },
  ],
  startsAt: "2026-01-08T09:30:00.000Z",
  endsAt: "2026-01-08T09:30:01.000Z",
  etaSeconds: 1,
};
