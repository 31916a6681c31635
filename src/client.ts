/**
 * The typed client of the service, for programs elsewhere (package export `./client`). It imports nothing but its own
 * folder, so that nothing of the service comes along.
 */
import { accountCalls, type AccountCalls } from "./client/accounts.ts";
import { createCalls, type ClientOptions } from "./client/calls.ts";
import { eventCalls, type EventCalls } from "./client/events.ts";
import { huntCalls, type HuntCalls } from "./client/hunts.ts";
import { messageCalls, type MessageCalls } from "./client/messages.ts";
import { operationCalls, type OperationCalls } from "./client/operations.ts";
import { phoneCalls, type PhoneCalls } from "./client/phone.ts";
import { recurrenceCalls, type RecurrenceCalls } from "./client/recurrences.ts";
import { suppressionCalls, type SuppressionCalls } from "./client/suppressions.ts";
import { templateCalls, type TemplateCalls } from "./client/templates.ts";
import { whatsAppCalls, type WhatsAppCalls } from "./client/whatsapp.ts";

export type * from "./client/shapes.ts";
export type { ClientOptions } from "./client/calls.ts";
export { ClientError, type Result } from "./client/result.ts";

/**
 * The service's API. No method rejects for what a caller cannot help (problems, the network, time-outs, answers that are
 * not JSON): those are `{ ok: false, error }`. Faults that may pass are retried: GETs change nothing, what sends, delivers or spends
 * carries an `Idempotency-Key` and so stays one request, and all else comes to the same when it comes twice (a pause, a new secret, a
 * file that is kept twice), or says that it is there already.
 */
export interface Client
  extends
    HuntCalls,
    RecurrenceCalls,
    TemplateCalls,
    WhatsAppCalls,
    PhoneCalls,
    MessageCalls,
    AccountCalls,
    SuppressionCalls,
    EventCalls,
    OperationCalls {}

/** Makes a client. Opens no connection; throws a TypeError for options that can never work. */
export function createClient(options: ClientOptions): Client {
  const calls = createCalls(options);
  return {
    ...huntCalls(calls),
    ...recurrenceCalls(calls),
    ...templateCalls(calls),
    ...whatsAppCalls(calls),
    ...phoneCalls(calls),
    ...messageCalls(calls),
    ...accountCalls(calls),
    ...suppressionCalls(calls),
    ...eventCalls(calls),
    ...operationCalls(calls),
  };
}
