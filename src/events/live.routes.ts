import { z } from "zod";
import { invalidRequest, notFound } from "../core/problem.ts";
import { route, type Route } from "../core/route.ts";
import { shortText } from "../core/text.ts";
import type { AccountStore } from "../store/accounts.ts";
import type { EventStore } from "../store/events.ts";
import type { Live } from "./live.ts";
import { EVENT_TYPES, EXAMPLE } from "./types.ts";

export interface LiveRoutesDeps {
  events: Pick<EventStore, "accountOfHunt">;
  accounts: Pick<AccountStore, "read">;
  live: Live;
}

const POSITION = /^\d{1,15}$/;
const LIST = Object.entries(EVENT_TYPES).map(([type, meaning]) => `- \`${type}\`: ${meaning}.`);

/** Events as they happen. */
export function liveRoutes({ events, accounts, live }: LiveRoutesDeps): Route[] {
  return [
    route({
      method: "get",
      path: "/api/events",
      tag: "Live events",
      summary: "Events as they happen",
      description: [
        "Server-sent events of an account, or of one of its hunts: `id` is a position, `event` the type, `data` the same JSON as a " +
          "webhook's body. A connection that breaks is taken up again, at any process, with the header `Last-Event-ID`: nothing is " +
          "missed and nothing comes again. Where that cannot be promised (more than an hour after the last reader, or after " +
          "`EVENT_RETENTION_DAYS`) an event `reset` comes first. A reader that is too slow is cut off, and comes again in the same " +
          "way. The API secret must not reach a browser: pass the answer on. The types are:",
        ...LIST,
      ].join("\n"),
      query: z.object({
        accountId: shortText(200).optional().describe("All events of this account"),
        huntId: shortText(200).optional().describe("Only those of this hunt"),
      }),
      headers: { "Last-Event-ID": "The `id` of the last event that was read: it goes on after it. Default: from now." },
      responses: {
        200: {
          description: "Goes on until either side ends it.",
          mediaType: "text/event-stream",
          schema: z.string(),
          example: `id: 42\nevent: ${EXAMPLE.type}\ndata: ${JSON.stringify(EXAMPLE)}\n\n`,
        },
        404: { description: "There is no such account or hunt." },
      },
      async handle({ query: { accountId, huntId }, headers }) {
        const last = headers["last-event-id"];
        if (last !== undefined && (typeof last !== "string" || !POSITION.test(last))) {
          throw invalidRequest([{ pointer: "/header/Last-Event-ID", detail: "is not an id that this route gave" }]);
        }
        const filter = { accountId: await accountOf(accountId, huntId), huntId };
        const stream = await live.open(filter, last === undefined ? undefined : Number(last));
        return { status: 200, body: undefined, headers: STREAM, stream };
      },
    }),
  ];

  async function accountOf(accountId: string | undefined, huntId: string | undefined): Promise<string> {
    if (huntId !== undefined) {
      const owner = await events.accountOfHunt(huntId);
      if (owner === undefined || (accountId !== undefined && owner !== accountId)) throw notFound("hunt", huntId);
      return owner;
    }
    if (accountId === undefined) {
      throw invalidRequest([{ pointer: "/query/accountId", detail: "is missing; expected it, or huntId" }]);
    }
    if (!(await accounts.read(accountId))) throw notFound("account", accountId);
    return accountId;
  }
}

/** Proxies are told not to wait until there is more. */
const STREAM = { "Content-Type": "text/event-stream", "X-Accel-Buffering": "no" };
