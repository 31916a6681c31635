import { toBuffer } from "qrcode";
import { z } from "zod";
import { parsePhone } from "../../core/phone.ts";
import { invalidRequest, notFound, ProblemError } from "../../core/problem.ts";
import { route, type Route } from "../../core/route.ts";
import { shortText } from "../../core/text.ts";
import type { Session } from "../../store/sessions.ts";
import type { ChannelRouteDeps } from "../channel.ts";
import { settingsSchema } from "./providers/baileys/settings.ts";
import { SESSION_EXAMPLE, sessionSchema, sessionView } from "./session-view.ts";

const TAG = "WhatsApp sessions";
const PATH = "/api/whatsapp/sessions";
/** Wide enough for a phone to read from across a desk, pixels. */
const QR_WIDTH = 384;
const SESSIONS_OFF = "Set WHATSAPP_ENCRYPTION_KEY (and not WHATSAPP_PROVIDER=sandbox) to send over paired numbers.";
const NO_ACCOUNT = { pointer: "/accountId", detail: "There is no such account." };

const LOCATION = { Location: "Where the session is to be read." };

/** Pairing WhatsApp numbers, and how each is. */
export function sessionRoutes({ sessions, provider, clock }: ChannelRouteDeps): Route[] {
  const one = z.object({ sessionId: z.uuid() });
  const missing = { 404: { description: "There is no such session." } };
  const find = async (id: string): Promise<Session> => {
    const session = await sessions.session(id);
    if (!session || session.wanted === "gone") throw notFound("WhatsApp session", id);
    return session;
  };
  const view = (session: Session) => sessionView(session, clock.now());

  return [
    route({
      method: "post",
      path: PATH,
      tag: TAG,
      summary: "Pair a WhatsApp number",
      description:
        "Starts pairing, or starts it again for a number that has lost its pairing. Read the session until its state is " +
        "`open`; meanwhile show its `qr` or its `pairingCode`. Repeating the call changes nothing.",
      body: z.strictObject({
        accountId: shortText(200).describe("Whose number it is"),
        phone: shortText(100).describe("The number whose phone will be linked: E.164, or French national format"),
        method: z.enum(["qr", "code"]).default("qr").describe("Scan a picture, or type a code in"),
      }),
      bodyExample: { accountId: "acc_456", phone: "+33612345678", method: "qr" },
      responses: {
        200: {
          description: "The number is paired and works.",
          headers: LOCATION,
          schema: sessionSchema,
          example: SESSION_EXAMPLE,
        },
        202: {
          description: "Pairing.",
          headers: LOCATION,
          schema: sessionSchema,
          example: { ...SESSION_EXAMPLE, state: "pairing", pairedAt: null },
        },
        409: {
          description: "The number cannot be paired now.",
          codes: {
            number_taken: "Another account has paired this number.",
            session_leaving: "The number is being logged out: try again in some seconds.",
            sessions_off: "No session can be connected here. `detail` says which variables to set.",
          },
        },
      },
      async handle({ body: { accountId, phone, method } }) {
        if (!provider?.lanes) throw sessionsOff();
        const number = parsePhone(phone, "FR");
        if (!number.ok) {
          const faults = [{ pointer: "/phone", detail: number.detail }];
          throw invalidRequest((await sessions.knowsAccount(accountId)) ? faults : [NO_ACCOUNT, ...faults]);
        }
        const answer = await sessions.pair(accountId, number.e164, method);
        switch (answer.result) {
          case "unknown_account":
            throw invalidRequest([NO_ACCOUNT]);
          case "taken":
            throw new ProblemError({
              status: 409,
              code: "number_taken",
              title: "The number is taken",
              detail: "Another account has paired this number.",
            });
          case "leaving":
            throw new ProblemError({
              status: 409,
              code: "session_leaving",
              title: "The number is being logged out",
              detail: "This number is being logged out. Try again in some seconds.",
            });
          default: {
            provider.nudge?.();
            const status = answer.result === "paired" ? 200 : 202;
            return { status, body: view(answer.session), headers: { Location: `${PATH}/${answer.session.id}` } };
          }
        }
      },
    }),
    route({
      method: "get",
      path: PATH,
      tag: TAG,
      summary: "All WhatsApp sessions",
      query: z.object({ accountId: shortText(200).optional() }),
      responses: {
        200: {
          description: "In the order of creation.",
          schema: z.object({
            sessions: z.array(sessionSchema),
            off: z.string().optional().describe("Why no session can be connected here, and which variables to set"),
          }),
          example: { sessions: [SESSION_EXAMPLE] },
        },
      },
      async handle({ query: { accountId } }) {
        const all = await sessions.sessions({ accountId });
        const off = provider?.lanes ? {} : { off: SESSIONS_OFF };
        return { status: 200, body: { sessions: all.filter(({ wanted }) => wanted === "on").map(view), ...off } };
      },
    }),
    route({
      method: "get",
      path: `${PATH}/:sessionId`,
      tag: TAG,
      summary: "One WhatsApp session",
      params: one,
      responses: {
        200: { description: "How it is now.", schema: sessionSchema, example: SESSION_EXAMPLE },
        ...missing,
      },
      async handle({ params: { sessionId } }) {
        return { status: 200, body: view(await find(sessionId)) };
      },
    }),
    route({
      method: "get",
      path: `${PATH}/:sessionId/qr.png`,
      tag: TAG,
      summary: "The QR code to scan, as a picture",
      params: one,
      responses: {
        200: {
          description: "A PNG.",
          mediaType: "image/png",
          // Bytes as they are have no `type` (OpenAPI 3.1, 4.8.14.2).
          schema: z.unknown().meta({ contentMediaType: "image/png" }),
        },
        404: {
          description: "There is no such session, or nothing to scan.",
          codes: {
            not_found: "There is nothing with that id. `detail` says what was looked for.",
            no_qr: "The session is not being paired by QR code, or the next code is on its way.",
          },
        },
      },
      async handle({ params: { sessionId } }) {
        const { qr } = await find(sessionId);
        if (qr === null) {
          throw new ProblemError({
            status: 404,
            code: "no_qr",
            title: "No QR code",
            detail: "The session is not being paired by QR code, or the next code is on its way.",
          });
        }
        const headers = { "Content-Type": "image/png", "Cache-Control": "no-store" };
        return { status: 200, body: await toBuffer(qr, { width: QR_WIDTH }), headers };
      },
    }),
    route({
      method: "post",
      path: `${PATH}/:sessionId/settings`,
      tag: TAG,
      summary: "Set a session's own pace",
      description:
        "Replaces its own values. What is not given is as the environment says. Effective within seconds, also for first " +
        "contacts that were put off until another day.",
      params: one,
      body: settingsSchema,
      bodyExample: { messagesPerMinute: 10, newContactsPerDay: 30 },
      responses: {
        200: { description: "As it is set now.", schema: sessionSchema, example: SESSION_EXAMPLE },
        ...missing,
      },
      async handle({ params: { sessionId }, body }) {
        const { minGapMs = 0, maxGapMs = Number.POSITIVE_INFINITY } = body;
        if (minGapMs > maxGapMs) {
          throw invalidRequest([{ pointer: "/maxGapMs", detail: "It is smaller than minGapMs." }]);
        }
        await find(sessionId);
        const session = await sessions.setSettings(sessionId, body);
        if (!session) throw notFound("WhatsApp session", sessionId);
        provider?.nudge?.();
        return { status: 200, body: view(session) };
      },
    }),
    route({
      method: "delete",
      path: `${PATH}/:sessionId`,
      tag: TAG,
      summary: "Log a WhatsApp session out",
      description:
        "Unlinks the device on the phone, wipes its keys and forgets the session. Messages that wait for it leave from " +
        "another number of the account, or fail.",
      params: one,
      responses: {
        202: {
          description: "It is on its way out.",
          schema: z.object({ id: z.uuid() }),
          example: { id: SESSION_EXAMPLE.id },
        },
        ...missing,
      },
      async handle({ params: { sessionId } }) {
        await find(sessionId);
        await sessions.dismiss(sessionId);
        provider?.nudge?.();
        return { status: 202, body: { id: sessionId } };
      },
    }),
  ];
}

const sessionsOff = (): ProblemError =>
  new ProblemError({
    status: 409,
    code: "sessions_off",
    title: "WhatsApp sessions are off",
    detail: SESSIONS_OFF,
  });
