import { z } from "zod";
import type { Clock } from "../../../../core/clock.ts";
import { UnavailableError } from "../../../../core/errors.ts";
import type { InboundEvent } from "../../../../core/inbound.ts";
import { route, type RawBody, type Route, type RouteRequest } from "../../../../core/route.ts";
import type { WebhookDeps } from "../../../channel.ts";
import { FORGED, forged } from "../../../webhooks.ts";
import { digestOf, voiceContentSchema } from "../../content.ts";
import { createTickets, type Ticket, type Tickets } from "../../ticket.ts";
import { NAME } from "./errors.ts";
import { type CallOutcome, isRecording, outcomeOf } from "./outcomes.ts";
import { HANG_UP, leave, type SpokenIn, waitFor } from "./twiml.ts";

const PATH = "/webhooks/twilio/voice/:token";
const CONTENT_TYPE = "application/x-www-form-urlencoded";
const MAX_BYTES = 64 * 1024;

/**
 * Has Twilio ask up to three times more when it does not reach us; else it would speak an error into the voicemail.
 * https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
 */
const AGAIN = "#rc=3&rp=5xx,ct,rt";

const SID = /^\w{1,64}$/;

/** While the message cannot be read, the machine records so much silence, so often. */
const WAIT_SECONDS = 2;
const MAX_WAITS = 5;

/** A call may wait in Twilio's queue behind a day's others. */
const VALID_MS = 48 * 3_600_000;

export function twilioTickets(authToken: string, clock: Clock): Tickets {
  return createTickets({ secret: authToken, purpose: "twilio voice", clock, validMs: VALID_MS });
}

export function twimlUrl(publicUrl: string, token: string): string {
  return `${publicUrl}/webhooks/twilio/voice/${token}${AGAIN}`;
}

export function statusUrl(publicUrl: string, token: string): string {
  return `${publicUrl}/webhooks/twilio/voice/${token}/status${AGAIN}`;
}

interface Options extends SpokenIn {
  authToken: string;
  /** Whether Twilio has signed a call of this address with these parameters. */
  isTwilio(signature: string, url: string, form: Record<string, string | string[]>): boolean;
}

type Call = RouteRequest<{ token: string }, unknown, RawBody>;

/**
 * What Twilio asks us during a call, and what it reports of it. Twice guarded: by the ticket in the address, which names
 * the attempt, and by Twilio's signature, because addresses end up in logs and the answer is the message itself. Neither
 * address holds anything of the person or the text: the message is read from the ledger when it is to be spoken.
 */
export function twilioVoiceRoutes(options: Options, deps: WebhookDeps): Route[] {
  const { clock, publicUrl, take } = deps;
  const tickets = twilioTickets(options.authToken, clock);

  const opened = ({ params, body, headers, url }: Call): { ticket: Ticket; form: URLSearchParams } => {
    const form = new URLSearchParams(body.bytes.toString("utf8"));
    const ticket = tickets.read(params.token);
    if (!ticket || !signed(options, publicUrl + url, form, headers["x-twilio-signature"])) throw forged();
    return { ticket, form };
  };
  const shared = {
    method: "post",
    tag: "Webhooks",
    public: true,
    params: z.object({ token: z.string().describe("Names the attempt; signed and expiring") }),
    rawBody: { maxBytes: MAX_BYTES, contentTypes: [CONTENT_TYPE] },
  } as const;
  const forgedResponse = { description: "Not Twilio.", codes: { invalid_signature: FORGED } };

  return [
    route({
      ...shared,
      path: PATH,
      summary: "What to do in a call, for Twilio",
      description: "TwiML: speaks or plays the message to a machine that records, hangs up on everybody else.",
      query: z.object({ waited: z.coerce.number().int().min(0).max(100).default(0).describe("Times it has waited") }),
      responses: { 200: { description: "TwiML." }, 401: forgedResponse },
      async handle(request) {
        const { ticket, form } = opened(request);
        const twiml = isRecording(form.get("AnsweredBy") ?? undefined)
          ? await message(ticket, request.query.waited, request.params.token, form.get("CallSid"))
          : HANG_UP;
        return { status: 200, body: twiml, headers: { "Content-Type": "text/xml; charset=utf-8" } };
      },
    }),
    route({
      ...shared,
      path: `${PATH}/status`,
      summary: "How a call ended, for Twilio",
      responses: { 204: { description: "Taken." }, 401: forgedResponse },
      async handle(request) {
        const { ticket, form } = opened(request);
        const event = receiptOf(form, ticket, clock);
        if (event) await take([event]);
        return { status: 204, body: undefined };
      },
    }),
  ];

  async function message(ticket: Ticket, waited: number, token: string, sid: string | null): Promise<string> {
    try {
      const content = voiceContentSchema.safeParse(await deps.contentOf(ticket.messageId));
      if (content.success && digestOf(content.data) === ticket.digest) return leave(content.data, options);
      // The call's own report will say that a machine has picked up, and comes too late to change this.
      const withdrawn = { status: "failed", code: "twilio_withdrawn" } as const;
      if (sid !== null && SID.test(sid)) await take([receipt(ticket, sid, withdrawn, clock)]);
      return HANG_UP;
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      if (waited >= MAX_WAITS) return HANG_UP;
      return waitFor(`${publicUrl}/webhooks/twilio/voice/${token}?waited=${waited + 1}`, WAIT_SECONDS);
    }
  }
}

/** The report of a call's end; undefined while it goes on. */
function receiptOf(form: URLSearchParams, ticket: Ticket, clock: Clock): InboundEvent | undefined {
  const sid = form.get("CallSid");
  const outcome = outcomeOf(form.get("CallStatus") ?? undefined, form.get("AnsweredBy") ?? undefined);
  if (sid === null || !SID.test(sid) || outcome === undefined) return undefined;
  return receipt(ticket, sid, outcome, clock);
}

/** It proves that the attempt was accepted. */
function receipt({ messageId, attemptId }: Ticket, sid: string, outcome: CallOutcome, clock: Clock): InboundEvent {
  const attempt = { messageId, attemptId };
  return { kind: "receipt", provider: NAME, providerMessageId: sid, attempt, ...outcome, at: clock.now() };
}

/** Whether the address is signed with its overrides is not documented, so either will do: they are a constant of ours. */
function signed({ isTwilio }: Options, url: string, form: URLSearchParams, signature: unknown): boolean {
  if (typeof signature !== "string") return false;
  const parameters: Record<string, string[]> = {};
  for (const name of form.keys()) parameters[name] = form.getAll(name);
  return [url, url + AGAIN].some((address) => isTwilio(signature, address, parameters));
}
