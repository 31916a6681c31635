import { randomBytes } from "node:crypto";
import tls from "node:tls";
import { expect } from "vitest";
import { startFakeWhatsApp, type FakeWhatsApp } from "../fakes/whatsapp/server.ts";
import { patiently } from "./patience.ts";
import type { Answer, TestService, World } from "./service.ts";

export const ENCRYPTION_KEY = randomBytes(32).toString("base64");

/** No limits: a test that is about pace sets its own. */
const UNPACED = {
  WHATSAPP_MESSAGES_PER_MINUTE: "none",
  WHATSAPP_MIN_GAP_MS: "0",
  WHATSAPP_MAX_GAP_MS: "0",
  WHATSAPP_TYPING: "false",
  WHATSAPP_NEW_CONTACTS_PER_DAY: "none",
};

/** A fake WhatsApp whose media server this process trusts. */
export async function openFakeWhatsApp(): Promise<FakeWhatsApp> {
  const fake = await startFakeWhatsApp({ autoReceipts: { kind: "delivered" } });
  tls.setDefaultCACertificates([...tls.getCACertificates("default"), fake.media.ca]);
  return fake;
}

export const whatsappEnvironment = (fake: { url: string }, extra: Record<string, string> = {}) => ({
  WHATSAPP_ENCRYPTION_KEY: ENCRYPTION_KEY,
  WHATSAPP_WS_URL: fake.url,
  WHATSAPP_ACK_TIMEOUT_MS: "1500",
  ...UNPACED,
  ...extra,
});

let last = 0;
/** A number that no other session in this process has. */
export const sessionPhone = (): string =>
  `+3369${String(++last).padStart(2, "0")}${String(process.pid % 100_000).padStart(5, "0")}`;

export const sessionOf = async (service: TestService, id: string): Promise<Answer["body"]> =>
  (await service.get(`/api/whatsapp/sessions/${id}`)).body;

/** Looks at a session until it is as wished for; in hooks too, where `expect.poll` is not allowed. */
async function untilSession(
  service: TestService,
  id: string,
  wished: (session: Answer["body"]) => boolean,
): Promise<Answer["body"]> {
  return (await patiently(() => sessionOf(service, id), wished, 20_000)).value;
}

export async function untilState(service: TestService, id: string, state: string): Promise<Answer["body"]> {
  const session = await untilSession(service, id, (found) => found.state === state);
  expect(session).toMatchObject({ state });
  return session;
}

/** Pairs a number as an operator does: asks, has the phone scan what is shown, and waits until it is open. */
export async function pair(
  service: TestService,
  fake: FakeWhatsApp,
  accountId: string,
  phone = sessionPhone(),
): Promise<{ id: string; phone: string; accountId: string }> {
  const asked = await service.post("/api/whatsapp/sessions", { accountId, phone });
  expect(asked.status).toBe(202);
  const { id } = asked.body;
  const { qr } = await untilSession(service, id, (session) => typeof session.qr === "string");
  expect(qr).toBeTypeOf("string");
  await fake.scanQr(phone, qr);
  await untilState(service, id, "open");
  return { id, phone, accountId };
}

/** An account with an open session. */
export async function pairedAccount(world: World, service: TestService, fake: FakeWhatsApp) {
  return pair(service, fake, await world.account());
}

/** A text over WhatsApp that is to be accepted; answers its id. */
export async function sendText(
  service: TestService,
  accountId: string,
  recipientPhone: string,
  message = "Bonjour",
): Promise<string> {
  const answer = await service.post("/api/whatsapp/text", { accountId, recipientPhone, message });
  expect(answer).toMatchObject({ status: 202 });
  return answer.body.messageId;
}

/** How each connection of a session ended, as the service logged it. */
export const endingsOf = (
  service: TestService,
  sessionId: string,
): { code: number; reaction: string; waitMs?: number }[] =>
  service.logs
    .filter(({ msg, sessionId: id }) => msg === "a WhatsApp connection ended" && id === sessionId)
    .map(({ code, reaction, waitMs }) => ({
      code: code as number,
      reaction: reaction as string,
      ...(waitMs === undefined ? {} : { waitMs: waitMs as number }),
    }));

/** The sealed keys that the database has of a session. */
export const keysOf = async ({ sql }: World, id: string): Promise<{ type: string; id: string; sealed: string }[]> =>
  (await sql.query("select type, id, sealed from whatsapp_keys where session_id = $1", [id])).rows;
