import type { Calls } from "./calls.ts";
import { part, queryOf } from "./paths.ts";
import type { Result } from "./result.ts";
import type { AttentionOptions, CallOptions, Message, MessagePage, PostOptions, Resolution } from "./shapes.ts";

/** What became of messages. */
export interface MessageCalls {
  /** What became of a message. Errors: `not_found`. */
  message(messageId: string, options?: CallOptions): Promise<Result<Message>>;
  /** Messages of all hunts and of none that failed or of which nobody knows. Errors: `invalid_request`. */
  messages(filter: AttentionOptions): Promise<Result<MessagePage>>;
  /**
   * Says what became of a message of which nobody knew: it was sent, it was not, or it is to be sent again, whoever may
   * have received it. Errors: `not_found`, `not_unknown`.
   */
  resolveMessage(
    messageId: string,
    as: Resolution,
    options?: PostOptions,
  ): Promise<Result<{ messageId: string; as: Resolution }>>;
}

export function messageCalls({ get, post }: Calls): MessageCalls {
  return {
    message: (messageId, options) => get(`/api/messages/${part(messageId)}`, options),
    messages: ({ signal, ...filter }) => get(`/api/messages${queryOf(filter)}`, { signal }),
    resolveMessage: (messageId, as, options) => post(`/api/messages/${part(messageId)}/resolve`, { as }, options),
  };
}
