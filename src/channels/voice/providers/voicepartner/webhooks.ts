import { z } from "zod";
import type { Clock } from "../../../../core/clock.ts";
import type { InboundEvent } from "../../../../core/inbound.ts";
import { route, type Route } from "../../../../core/route.ts";
import { type WebhookDeps, FORGED, forged } from "../../../webhooks.ts";
import { createTickets, type Ticket, type Tickets } from "../../ticket.ts";
import { NAME } from "./errors.ts";

/** Campaigns outside of permitted hours wait for the next working day, and holidays may lie between. */
const VALID_MS = 8 * 24 * 3_600_000;

export function voicePartnerTickets(apiKey: string, clock: Clock): Tickets {
  return createTickets({ secret: apiKey, purpose: "voicepartner", clock, validMs: VALID_MS });
}

/** In the path, because VoicePartner puts a query of its own behind. */
export function notifyUrl(publicUrl: string, token: string): string {
  return `${publicUrl}/webhooks/voicepartner/${token}`;
}

const count = z
  .string()
  .regex(/^\d{1,9}$/)
  .transform(Number)
  .optional()
  .catch(undefined);

/** Where VoicePartner reports the end of a campaign, by an unsigned GET: the ticket in the address is what is trusted. */
export function voicePartnerRoutes(apiKey: string, { clock, take }: WebhookDeps): Route[] {
  const tickets = voicePartnerTickets(apiKey, clock);
  return [
    route({
      method: "get",
      path: "/webhooks/voicepartner/:token",
      tag: "Webhooks",
      summary: "How a voicemail drop ended, for VoicePartner",
      description: "The same call may come twice, late and out of order.",
      public: true,
      params: z.object({ token: z.string().describe("Names the attempt; signed and expiring") }),
      query: z.object({
        delivered_quantity: count.describe("Voicemails that have the message: 0 or 1"),
        total_quantity: count.describe("Numbers of the campaign: 1"),
      }),
      responses: {
        204: { description: "Taken." },
        401: { description: "Not VoicePartner.", codes: { invalid_signature: FORGED } },
      },
      async handle({ params, query }) {
        const ticket = tickets.read(params.token);
        if (!ticket) throw forged();
        await take([receiptOf(ticket, query.delivered_quantity, query.total_quantity, clock)]);
        return { status: 204, body: undefined };
      },
    }),
  ];
}

/** A report without numbers proves no more than that the campaign was accepted. */
function receiptOf(
  { messageId, attemptId }: Ticket,
  delivered: number | undefined,
  total: number | undefined,
  clock: Clock,
): InboundEvent {
  const receipt = {
    kind: "receipt",
    provider: NAME,
    providerMessageId: attemptId,
    attempt: { messageId, attemptId },
    at: clock.now(),
  } as const;
  if (delivered === undefined || total === undefined || total === 0) return { ...receipt, status: "sent" };
  if (delivered > 0) return { ...receipt, status: "delivered" };
  return { ...receipt, status: "failed", code: "voicepartner_not_delivered" };
}
