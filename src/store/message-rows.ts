import type { Database } from "./database.ts";
import type { MessagePage, MessageStatus, OpenMessage, PlannedMessage, StoredMessage } from "./messages.ts";
import { phoneHash } from "./phone-hash.ts";
import { utc } from "./times.ts";

export const MESSAGE_COLUMNS =
  "id, seq, account_id, hunt_id, ad_id, channel, queue, recipient, sender, variant, status, code, detail, provider, " +
  "provider_message_id, segments, provider_segments, price, currency, attempts, created_at, sent_at, delivered_at, read_at, updated_at";

export interface MessageRow {
  id: string;
  seq: number;
  account_id: string | null;
  hunt_id: string | null;
  ad_id: string | null;
  channel: string;
  queue: string;
  recipient: string;
  sender: string | null;
  variant: string | null;
  status: MessageStatus;
  code: string | null;
  detail: string | null;
  provider: string | null;
  provider_message_id: string | null;
  segments: number | null;
  provider_segments: number | null;
  price: number | null;
  currency: string | null;
  attempts: number;
  created_at: string;
  sent_at: string | null;
  delivered_at: string | null;
  read_at: string | null;
  updated_at: string;
}

export function toStoredMessage(row: MessageRow): StoredMessage {
  return {
    messageId: row.id,
    accountId: row.account_id,
    huntId: row.hunt_id,
    adId: row.ad_id,
    channel: row.channel,
    queue: row.queue,
    recipientPhone: row.recipient,
    senderPhone: row.sender,
    variant: row.variant,
    status: row.status,
    code: row.code,
    detail: row.detail,
    provider: row.provider,
    providerMessageId: row.provider_message_id,
    segments: row.provider_segments ?? row.segments,
    price: row.price,
    currency: row.currency,
    attempts: row.attempts,
    createdAt: utc(row.created_at),
    sentAt: row.sent_at && utc(row.sent_at),
    deliveredAt: row.delivered_at && utc(row.delivered_at),
    readAt: row.read_at && utc(row.read_at),
    updatedAt: utc(row.updated_at),
  };
}

export type OpenMessageRow = Omit<OpenMessage, "accountId" | "huntId" | "adId" | "retryInMs"> & {
  account_id: string | null;
  hunt_id: string | null;
  ad_id: string | null;
  retry_in_ms: number | null;
};

export function toOpenMessage({ account_id, hunt_id, ad_id, retry_in_ms, ...row }: OpenMessageRow): OpenMessage {
  return { ...row, accountId: account_id, huntId: hunt_id, adId: ad_id, retryInMs: retry_in_ms ?? 0 };
}

interface Filter {
  huntId?: string;
  accountId?: string | undefined;
  status: MessageStatus | undefined;
  /** Why it was skipped, or with what it failed. */
  code?: string | undefined;
  cursor: string | undefined;
  limit: number;
}

/** A hosted project answers no more rows than these, however many are asked for. */
const MAX_ROWS = 1000;

/** One page of messages in the order of planning. The cursor is the last row's `seq`, opaque to callers. */
export async function pageOfMessages(
  database: Database,
  { huntId, accountId, status, code, cursor, limit }: Filter,
): Promise<MessagePage> {
  let query = database.client.from("messages").select(MESSAGE_COLUMNS);
  if (huntId) query = query.eq("hunt_id", huntId);
  if (accountId) query = query.eq("account_id", accountId);
  if (status) query = query.eq("status", status);
  if (code) query = query.eq("code", code);
  // Across hunts there is an index of these only; `is true` would not use it.
  if (!huntId) query = query.eq("needs_attention", true);
  if (cursor) query = query.gt("seq", Number(cursor));
  // One more than asked for tells whether there is a next page.
  const ordered = query
    .order("seq")
    .limit(limit + 1)
    .overrideTypes<MessageRow[], { merge: false }>();
  const rows = (await database.run("messages", ordered)) ?? [];
  const page = rows.slice(0, limit);
  return {
    messages: page.map(toStoredMessage),
    nextCursor: rows.length > limit || rows.length === MAX_ROWS ? String(page.at(-1)?.seq) : undefined,
  };
}

/** `salt`: under which a recipient is known who was erased. */
export function messageRows(salt: string | undefined): (message: PlannedMessage) => object {
  const toRow = ({ accountId, huntId, adId, expiresAt, sendAt, next, ...rest }: PlannedMessage): object => ({
    ...(next ? { next: toRow(next) } : {}),
    account_id: accountId,
    hunt_id: huntId,
    ad_id: adId,
    expires_at: expiresAt,
    send_at: sendAt,
    ...(salt === undefined ? {} : { recipient_hash: phoneHash(rest.recipient, salt) }),
    ...rest,
  });
  return toRow;
}
