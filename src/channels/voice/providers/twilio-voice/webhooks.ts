import { z } from "zod";
import type { Clock } from "../../../../core/clock.ts";
import type { Receipt } from "../../../../core/inbound.ts";
import { route, type RawBody, type Route, type RouteReply, type RouteRequest } from "../../../../core/route.ts";
import { type WebhookDeps, FORGED, forged } from "../../../webhooks.ts";
import { createTickets, type Ticket, type Tickets } from "../../ticket.ts";
import { NAME } from "./errors.ts";
import { instructions } from "./instructions.ts";
import { type CallOutcome, isRecording, outcomeOf } from "./outcomes.ts";
import { HANG_UP, type SpokenIn } from "./twiml.ts";

const PATH = "/webhooks/twilio/voice/:token";
const CONTENT_TYPE = "application/x-www-form-urlencoded";
const MAX_BYTES = 64 * 1024;

/**
 * Has Twilio ask up to three times more, within fifteen seconds, when it does not reach us, and then as often at the
 * fallback, which is the same address; else it would speak an error into the voicemail.
 * https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
 */
const AGAIN = "#rc=3&rp=5xx,ct,rt";

const SID = /^\w{1,64}$/;

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

type Event = { kind: "receipt" } & Receipt;
type Call = RouteRequest<{ token: string }, unknown, RawBody>;

/**
 * What Twilio asks us during a call, and what it reports of it. Twice guarded: by the ticket in the address, which names
 * the attempt, and by Twilio's signature, because addresses end up in logs and the answer is the message itself. Neither
 * address holds anything of the person or the text: the message is read from the ledger when it is to be spoken.
 */
export function twilioVoiceRoutes(options: Options, deps: WebhookDeps): Route[] {
  const { clock, publicUrl, take } = deps;
  const tickets = twilioTickets(options.authToken, clock);
  const instruct = instructions(options, deps);

  const opened = ({ params, body, headers, url }: Call) => {
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
        const { log, params } = request;
        const error = errorOf(form, publicUrl);
        const waited = Math.max(request.query.waited, error?.waited ?? 0);
        const sid = sidOf(form);
        // Only a machine is told to wait; whether Twilio says so again when it comes back is not documented.
        const records = waited > 0 || isRecording(form.get("AnsweredBy") ?? undefined);
        if (!records || sid === undefined) return twiml(HANG_UP);
        const answer = await instruct({
          ticket,
          waited,
          url: `${publicUrl}/webhooks/twilio/voice/${params.token}?waited=${waited + 1}${AGAIN}`,
          notPlayed: error?.fetched === true,
          receipt: (code) => receipt(ticket, sid, { status: "failed", code }, clock),
        });
        return twiml(answer.twiml, () => {
          answer.sent?.().catch((err: unknown) => log.warn({ err }, "nobody will know that the message was left"));
        });
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
}

const twiml = (body: string, sent?: () => void): RouteReply => ({
  status: 200,
  body,
  headers: { "Content-Type": "text/xml; charset=utf-8" },
  ...(sent && { sent }),
});

function sidOf(form: URLSearchParams): string | undefined {
  const sid = form.get("CallSid");
  return sid !== null && SID.test(sid) ? sid : undefined;
}

/**
 * Why Twilio asks at the fallback, if it does. `fetched`: it had our answer, and could not carry it out, as a recording that
 * is gone; otherwise (11…: not reached, 12…: what came was not ours) it did not get it.
 * https://www.twilio.com/docs/usage/security/availability-reliability, https://www.twilio.com/docs/api/errors
 */
function errorOf(form: URLSearchParams, publicUrl: string): { fetched: boolean; waited: number } | undefined {
  const code = form.get("ErrorCode");
  if (code === null) return undefined;
  const url = form.get("ErrorUrl") ?? "";
  const fetched = !/^1[12]/.test(code) || (url !== "" && !url.startsWith(`${publicUrl}/`));
  return { fetched, waited: Number(URL.parse(url)?.searchParams.get("waited") ?? 0) || 0 };
}

/** The report of a call's end; undefined while it goes on. */
function receiptOf(form: URLSearchParams, ticket: Ticket, clock: Clock): Event | undefined {
  const sid = sidOf(form);
  const outcome = outcomeOf(form.get("CallStatus") ?? undefined, form.get("AnsweredBy") ?? undefined);
  if (sid === undefined || outcome === undefined) return undefined;
  return receipt(ticket, sid, outcome, clock);
}

/** It proves that the attempt was accepted. */
function receipt({ messageId, attemptId }: Ticket, sid: string, outcome: CallOutcome, clock: Clock): Event {
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
