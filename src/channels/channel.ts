import type { z } from "zod";
import type { Clock } from "../core/clock.ts";
import type { Fault } from "../core/problem.ts";
import type { Route } from "../core/route.ts";
import type { SessionStore } from "../store/sessions.ts";
import type { Provider } from "./provider.ts";
import type { ProviderDefinition } from "./provider-definition.ts";

/** Variables of a channel's own, whoever carries it. */
export interface ChannelSettings<Env extends z.ZodRawShape = z.ZodRawShape> {
  /** Each with a default or optional, and with a `.describe()`; documented from here. */
  readonly env: Env;
  /** What of the channel they change. */
  apply(env: z.output<z.ZodObject<Env>>): Partial<Channel>;
}

/**
 * The fields of a hunt's contact or of a single send that a channel makes its content from, by their names in the API.
 * Those of the channel's own (`inHunts`) come as they were given: `contentOf` says what is wrong with them.
 */
export interface ContentInput {
  message?: string | undefined;
  audioUrl?: string | undefined;
  [field: string]: unknown;
}

/** For whom content is made, and what has to be said in it; none at the edge of a hunt, where neither is known yet. */
export interface ContentTerms {
  /** The recipient's, ISO 3166-1. */
  country: string | undefined;
  /** The sender that the caller has asked for. */
  sender: string | undefined;
  /** Nobody can answer the one that is used otherwise. */
  oneWay: boolean;
  /** Marketing has to say how to stop it: in the service's words (true), or in these. */
  stopNotice: true | string | undefined;
}

export interface ChannelRouteDeps {
  sessions: SessionStore;
  /** Who a message of the account's for that recipient would be written for. Rejects with `ProblemError`. */
  termsOf(message: {
    accountId?: string | undefined;
    recipientPhone?: string | undefined;
    senderPhone?: string | undefined;
  }): Promise<ContentTerms>;
  /** Who carries the channel now. */
  provider: Provider | undefined;
  clock: Clock;
}

/** A way to reach a person. Adding one is a folder with this in it, and one line in `modules.ts`. */
export interface Channel<Content = unknown> {
  /** As in the API: `sms`. */
  readonly name: string;
  /** The queue that carries it, shared by sibling channels. */
  readonly queue: "whatsapp" | "sms" | "voice";
  /** `SMS_PROVIDER`: the variable that names the provider. */
  readonly providerVariable: string;
  /** In the order of preference when several have credentials; the sandbox last. */
  readonly providers: readonly ProviderDefinition[];
  readonly settings?: ChannelSettings;
  /** What a job of this channel carries, checked at the edge and again off the queue. */
  readonly content: z.ZodType<Content>;
  /**
   * Content out of a contact, as it is sent, or what is wrong with it (pointers relative to the contact). Without `terms` it
   * tells only whether the contact's own fields are right.
   */
  contentOf(input: ContentInput, terms?: ContentTerms): { content: Content } | { faults: Fault[] };
  /** The path and body of the route that sends a single message, e.g. `/api/phone/sms`. */
  readonly single: SingleSend;
  /** Where, as it is set up, the service's policy keeps every marketing message from going out: countries, `other` for all others. */
  closedTo?(setUp: { oneWay: boolean; stopNoticeOf(country: string | undefined): true | string | undefined }): string[];
  /** Further routes of its own. */
  routes?(deps: ChannelRouteDeps): Route[];
}

/** The route that sends one message over a channel. */
export interface SingleSend {
  path: string;
  summary: string;
  /** The content's own fields in the body, beside `recipientPhone`, `senderPhone` and `accountId`. */
  fields: z.ZodRawShape;
  /** Those of `fields` that a hunt's contact has as well, beside `message` and `audioUrl`. */
  inHunts?: readonly string[];
  /** Faults that no single field shows, such as "exactly one of two"; pointers into the body. */
  check?(body: Record<string, unknown>): Fault[];
  /** From the body's own fields to what `contentOf` takes. */
  input(body: Record<string, unknown>): ContentInput;
  example: Record<string, unknown>;
}
