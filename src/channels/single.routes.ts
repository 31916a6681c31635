import { randomUUID } from "node:crypto";
import type { CountryCode } from "libphonenumber-js";
import type { Logger } from "pino";
import { z } from "zod";
import { UnavailableError } from "../core/errors.ts";
import { parsePhone, senderOf } from "../core/phone.ts";
import { invalidRequest, ProblemError, type Fault } from "../core/problem.ts";
import { refusalOf, REFUSALS } from "../core/refusals.ts";
import { route, type Route } from "../core/route.ts";
import type { Rules } from "../core/rules.ts";
import { shortText } from "../core/text.ts";
import type { Account, PlannedMessage, Store } from "../store/store.ts";
import type { Channel } from "./channel.ts";
import type { LaneDirectory } from "./lanes.ts";

export interface SingleRoutesDeps {
  store: Store;
  /** Puts the message's job into its queue. Rejects with `UnavailableError` while Redis is away. */
  enqueue(message: PlannedMessage): Promise<void>;
  /** Undefined when somebody carries the channel; else what to do about it. */
  offBecause(channel: string): string | undefined;
  /** The senders of a channel each of which is somebody's; undefined where any will do. */
  lanes(channel: string): LaneDirectory | undefined;
  /** What the account's policy says of a marketing message. */
  rules: Rules;
  /** Nobody can answer the sender that a channel's messages have unless they name one. */
  oneWay(channel: string): boolean;
  log: Logger;
}

const DEFAULT_COUNTRY = "FR";

type Given = Record<string, unknown> & {
  recipientPhone: string;
  senderPhone?: string;
  accountId?: string;
  category?: "marketing";
  consent?: boolean;
};

/** In the documents. */
const EXAMPLE_ID = "0198c5a2-7d5e-7b1a-9f00-3c2a8d9e4f10";

/** The route that sends one message over a channel, built from what the channel says of itself. */
export function singleRoute(
  channel: Channel,
  { store, enqueue, offBecause, lanes, rules, oneWay, log }: SingleRoutesDeps,
): Route {
  const phone = shortText(100);

  async function messageOf(given: Given, account: Account | undefined): Promise<PlannedMessage> {
    const country = (account?.defaultCountry ?? DEFAULT_COUNTRY) as CountryCode;
    const recipient = parsePhone(given.recipientPhone, country);
    const sender = given.senderPhone === undefined ? undefined : senderOf(given.senderPhone, country);
    const ruling =
      given.category && recipient.ok
        ? rules({
            policy: account?.policy,
            consent: given.consent === true || account?.consentDeclared === true,
            recipient: recipient.e164,
            kind: channel.queue,
          })
        : undefined;
    const content = channel.contentOf(channel.single.input(given), {
      country: recipient.ok ? recipient.country : undefined,
      sender,
      oneWay: oneWay(channel.name),
      stopNotice: ruling?.stopNotice,
    });
    const faults: Fault[] = channel.single.check?.(given) ?? [];
    if (faults.length === 0 && "faults" in content) faults.push(...content.faults);
    if (!recipient.ok) faults.unshift({ pointer: "/recipientPhone", detail: recipient.detail });
    const senderFault = await lanes(channel.name)?.senderFault({ accountId: given.accountId, sender });
    if (senderFault) faults.push(senderFault);
    if (!recipient.ok || "faults" in content || faults.length > 0) throw invalidRequest(faults);
    return {
      id: randomUUID(),
      accountId: given.accountId,
      huntId: undefined,
      adId: undefined,
      copy: 0,
      channel: channel.name,
      queue: channel.queue,
      recipient: recipient.e164,
      sender,
      content: content.content,
      expiresAt: undefined,
      skip: ruling?.skip?.code,
      detail: ruling?.skip?.detail,
      category: given.category,
      caps: ruling?.caps,
    };
  }

  return route({
    method: "post",
    path: channel.single.path,
    tag: "Messages",
    summary: channel.single.summary,
    idempotent: true,
    body: z.strictObject({
      recipientPhone: phone.describe("E.164, or the account's national format"),
      senderPhone: phone.optional().describe("Number to send from; default: the provider's"),
      accountId: shortText(200).optional().describe("Whose suppressions and credits apply; default: nobody's"),
      category: z
        .enum(["marketing"])
        .optional()
        .describe("Holds the message to the account's policy, as every hunt's; default: the person has asked for it"),
      consent: z.boolean().optional().describe("For marketing: the person has agreed to be contacted"),
      ...channel.single.fields,
    }),
    bodyExample: { recipientPhone: "+33612345678", accountId: "acc_456", ...channel.single.example },
    responses: {
      202: {
        description: "Accepted and safe in the database.",
        headers: { Location: "Where the message is to be read." },
        schema: z.object({ jobId: z.uuid(), queue: z.string(), messageId: z.uuid() }),
        example: { jobId: EXAMPLE_ID, queue: channel.queue, messageId: EXAMPLE_ID },
      },
      ...REFUSALS,
      503: {
        description: "The channel is off, or a dependency is away.",
        codes: { channel_off: "No provider has credentials for this channel. `detail` says which variables to set." },
      },
    },
    async handle({ body, idempotency }) {
      const given = body as Given;
      const off = offBecause(channel.name);
      if (off) throw channelOff(channel.name, off);

      const plan = async (account: Account | undefined) => {
        const message = await messageOf(given, account);
        return { message, response: { jobId: message.id, queue: channel.queue, messageId: message.id } };
      };
      const answer = await store.acceptMessage(given.accountId, plan, idempotency);
      if (answer.result !== "accepted" && answer.result !== "replay") throw refusalOf(answer.result, "/accountId");
      if (answer.result === "accepted") {
        await enqueue(answer.message).catch((error: unknown) => {
          // It is in the ledger: the sweeper queues it when Redis is back.
          if (!(error instanceof UnavailableError)) throw error;
          log.warn({ err: error, messageId: answer.message.id }, "message accepted while Redis is away");
        });
      }
      return {
        status: 202,
        body: answer.response,
        headers: { Location: `/api/messages/${answer.response.messageId}` },
      };
    },
  });
}

function channelOff(channel: string, detail: string): ProblemError {
  return new ProblemError({
    status: 503,
    code: "channel_off",
    title: "The channel is off",
    detail: `${channel} is off: ${detail}.`,
  });
}
