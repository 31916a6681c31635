import { z } from "zod";
import { route, type Route } from "../core/route.ts";
import { timestamp } from "../core/text.ts";
import type { SenderState, Throttle } from "../queues/throttle.ts";

const senderSchema = z.object({
  provider: z.string(),
  sender: z.string().describe("Number, name or service; `account` where the limit is that of all senders together"),
  perSecond: z.number().describe("Messages a second that it sends now at most"),
  minPerSecond: z.number(),
  maxPerSecond: z.number(),
  heldUntil: timestamp().nullable().describe("The provider wants to hear nothing from it before then"),
  lastRefusal: z
    .object({ code: z.string(), at: timestamp() })
    .nullable()
    .describe("The provider's last refusal for going too fast, or for a fault of the sender's own"),
  placed: z.int().describe("Messages that have a place within the next half minute; more may wait behind them"),
  waitSeconds: z.number().describe("How long a message would wait that comes now"),
});

const EXAMPLE = {
  provider: "twilio",
  sender: "+33987650000",
  perSecond: 5,
  minPerSecond: 0.2,
  maxPerSecond: 10,
  heldUntil: "2026-11-22T09:00:02.000Z",
  lastRefusal: { code: "twilio_20429", at: "2026-11-22T09:00:00.000Z" },
  placed: 42,
  waitSeconds: 8.4,
};

/** How fast each sender may send now, as learned from its provider. */
export function senderRoutes({ throttle }: { throttle: Pick<Throttle, "senders"> }): Route[] {
  return [
    route({
      method: "get",
      path: "/api/senders",
      tag: "Operations",
      summary: "How fast each sender sends, and why not faster",
      description: "Those that have sent within a day at a provider that limits them, by provider and sender.",
      responses: {
        200: {
          description: "Each sender's rate now.",
          schema: z.object({ senders: z.array(senderSchema) }),
          example: { senders: [EXAMPLE] },
        },
      },
      async handle() {
        return { status: 200, body: { senders: (await throttle.senders()).map(view) } };
      },
    }),
  ];
}

const iso = (ms: number): string => new Date(ms).toISOString();
const rounded = (rate: number): number => Math.round(rate * 1000) / 1000;

function view(state: SenderState): z.output<typeof senderSchema> {
  const { provider, sender, rate, min, max, heldUntil, refusal, placed, waitMs } = state;
  return {
    provider,
    sender,
    perSecond: rounded(rate),
    minPerSecond: rounded(min),
    maxPerSecond: rounded(max),
    heldUntil: heldUntil === undefined ? null : iso(heldUntil),
    lastRefusal: refusal ? { code: refusal.code, at: iso(refusal.at) } : null,
    placed,
    waitSeconds: waitMs / 1000,
  };
}
