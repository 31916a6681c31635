/**
 * The typed client of the service, for programs elsewhere (package export `./client`). One file that imports nothing, so
 * that nothing of the service comes along; test/service/client.test.ts keeps its types those of the server's schemas.
 */

/** A way to reach a person. */
export type Channel =
  | "whatsapp_text"
  | "whatsapp_image"
  | "whatsapp_video"
  | "whatsapp_audio"
  | "whatsapp_document"
  | "whatsapp_location"
  | "whatsapp_contact"
  | "whatsapp_poll"
  | "sms"
  | "ringless_voice";

/**
 * Where a message is: `queued` → `sending` → `sent` (the provider took it) → `delivered` → `read`, or at its end `failed`
 * (with a code), `skipped` (with a reason), `cancelled`, or `unknown` (it may have been sent; a person decides).
 */
export type MessageStatus =
  | "queued"
  | "sending"
  | "sent"
  | "delivered"
  | "read"
  | "failed"
  | "skipped"
  | "cancelled"
  | "unknown";

/** Messages by status; they sum to the total. */
export type Counts = Record<MessageStatus, number>;

/** One person of a hunt. */
export interface Contact {
  /** The advert or business, in your own words; 1 to 200 characters. A hunt contacts it once over each channel. */
  adId: string;
  /** E.164, or the account's national format. A number that cannot be dialled is skipped, not refused. */
  recipientPhone: string;
  channel: Channel;
  /**
   * The text, for `ringless_voice` what is spoken, for pictures, videos and documents the caption. At most 1600 (sms),
   * 4096 (whatsapp_text), 3000 (ringless_voice) or 1024 characters (a caption).
   */
  message?: string | undefined;
  /** Number to send from; default: the provider's. */
  senderPhone?: string | undefined;
  /** `ringless_voice` only: the http(s) address of a recording to play instead of `message`. */
  audioUrl?: string | undefined;
  /**
   * `whatsapp_image`, `_video`, `_audio`, `_document` only: the http(s) address, on a public server, of the file, which is
   * fetched when it is sent; at most 16 MiB.
   */
  mediaUrl?: string | undefined;
  /** Instead of `mediaUrl`: an upload of the same account. */
  mediaId?: string | undefined;
  /** `whatsapp_audio` only: shown as spoken just now; wants Ogg with Opus. */
  voiceNote?: boolean | undefined;
  /** `whatsapp_document` only: the name that the recipient sees. */
  fileName?: string | undefined;
  /** `whatsapp_location` only, and wanted there: degrees, -90 to 90. */
  latitude?: number | undefined;
  /** `whatsapp_location` only, and wanted there: degrees, -180 to 180. */
  longitude?: number | undefined;
  placeName?: string | undefined;
  placeAddress?: string | undefined;
  /** `whatsapp_contact` only, and wanted there: the name on the card that is shared. */
  contactName?: string | undefined;
  /** `whatsapp_contact` only, and wanted there: the number on the card, E.164. */
  contactPhone?: string | undefined;
  /** `whatsapp_poll` only, and wanted there: 1 to 255 characters. */
  question?: string | undefined;
  /** `whatsapp_poll` only, and wanted there: 2 to 12 different answers of 1 to 100 characters. */
  options?: string[] | undefined;
  /** `whatsapp_poll` only: several answers may be chosen. */
  multipleAnswers?: boolean | undefined;
  /** WhatsApp only: the message to quote, ours by its `messageId` or an inbound reply by its id. */
  replyTo?: string | undefined;
}

/** A hunt to be carried out. */
export interface NewHunt {
  /** The hunt, in your own words. Submitting it again adds contacts to it. */
  huntId: string;
  accountId: string;
  contacts: Contact[];
  /** Default `normal`. */
  priority?: "high" | "normal" | "low" | undefined;
  /** ISO 8601 with a zone; nothing is sent after it. Default: in seven days. */
  expiresAt?: string | undefined;
}

/** The receipt for a hunt: its contacts are safe in the database. */
export interface AcceptedHunt {
  /** Of this submission, for `huntStatus` and `waitForHunt`. */
  jobId: string;
  huntId: string;
  /** Contacts taken. */
  accepted: number;
}

/** How far a hunt is. Times are ISO 8601, in UTC. */
export interface HuntStatus {
  jobId: string;
  huntId: string;
  accountId: string;
  /** `finished`: no message is queued or being sent any more; receipts may still come. */
  state: "planning" | "running" | "finished";
  total: number;
  counts: Counts;
  byChannel: Record<string, Counts>;
  startedAt: string | null;
  finishedAt: string | null;
  /** At the pace so far; null before the first message, 0 at the end. */
  etaSeconds: number | null;
}

/** What became of a message. Times are ISO 8601, in UTC. */
export interface Message {
  messageId: string;
  accountId: string | null;
  huntId: string | null;
  adId: string | null;
  channel: string;
  /** E.164, or what was given where that is not a number. */
  recipientPhone: string;
  senderPhone: string | null;
  status: MessageStatus;
  /** Why it was skipped: `invalid_number`, `duplicate`, `suppressed`, `no_credit`, … */
  reason: string | null;
  /** With what code it failed or became unknown. */
  code: string | null;
  /** The reason or code in words. */
  detail: string | null;
  provider: string | null;
  providerMessageId: string | null;
  /** Calls of a provider. */
  attempts: number;
  createdAt: string | null;
  sentAt: string | null;
  deliveredAt: string | null;
  readAt: string | null;
  updatedAt: string | null;
}

/** Messages in the order in which they were planned. */
export interface MessagePage {
  messages: Message[];
  /** Give it as `cursor` to go on; null at the end. */
  nextCursor: string | null;
}

/** To whom a single message goes. */
export interface Recipient {
  /** E.164, or the account's national format (without an account: French). */
  recipientPhone: string;
  /** Number to send from; default: the provider's. */
  senderPhone?: string | undefined;
  /** Whose suppressions and credits apply; default: nobody's. */
  accountId?: string | undefined;
}

/** A text to one person: 1 to 4096 characters over WhatsApp, 1 to 1600 by SMS. */
export interface NewText extends Recipient {
  message: string;
}

/** What every message over WhatsApp may have. */
export interface Quoting {
  /** The message to quote: one of ours by its `messageId`, or an inbound reply by its id. */
  replyTo?: string | undefined;
}

/** A text to one person over WhatsApp: 1 to 4096 characters. */
export type NewWhatsAppText = NewText & Quoting;

/** Where a file is: the http(s) address on a public server from which it is fetched, or an upload of the same account. */
export type MediaSource =
  | { mediaUrl: string; mediaId?: undefined }
  | { mediaUrl?: undefined; mediaId: string; accountId: string };

/** A picture or a video to one person over WhatsApp, with a caption of at most 1024 characters. */
export type NewPicture = Recipient & Quoting & MediaSource & { message?: string | undefined };

/** A recording to one person over WhatsApp; as a voice note it is shown as spoken just now, and wants Ogg with Opus. */
export type NewRecording = Recipient & Quoting & MediaSource & { voiceNote?: boolean | undefined };

/** A document to one person over WhatsApp, with a caption and the name that the recipient sees. */
export type NewDocument = NewPicture & { fileName?: string | undefined };

/** A place on the map to one person over WhatsApp; degrees. */
export interface NewLocation extends Recipient, Quoting {
  latitude: number;
  longitude: number;
  placeName?: string | undefined;
  placeAddress?: string | undefined;
}

/** A contact's card to one person over WhatsApp. */
export interface NewContactCard extends Recipient, Quoting {
  contactName: string;
  /** E.164. */
  contactPhone: string;
}

/** A question to one person over WhatsApp: up to 255 characters, and 2 to 12 different answers of up to 100. */
export interface NewPoll extends Recipient, Quoting {
  question: string;
  options: string[];
  /** Several answers may be chosen. Default: false. */
  multipleAnswers?: boolean | undefined;
}

/** A file to be sent later, at most 16 MiB. */
export interface NewUpload {
  accountId: string;
  data: Blob | Uint8Array;
  /** What it is, e.g. `image/jpeg`; the service looks whether its bytes agree. */
  contentType: string;
  /** The name under which a document is shown to its recipient; at most 200 characters. */
  fileName?: string | undefined;
}

/** The receipt for an upload. */
export interface Upload {
  /** For messages of the same account, in place of a `mediaUrl`. */
  mediaId: string;
  /** Bytes. */
  size: number;
  contentType: string;
  /** ISO 8601, in UTC. */
  expiresAt: string;
}

/** A voicemail to one person: a text to speak (1 to 3000 characters) or the http(s) address of a recording. */
export type NewVoicemail = Recipient &
  ({ text: string; audioUrl?: undefined } | { text?: undefined; audioUrl: string });

/** The receipt for a single message: it is safe in the database. */
export interface AcceptedMessage {
  jobId: string;
  /** The queue that the job is in, for `job` and `retryJob`. */
  queue: string;
  messageId: string;
}

/** A job of a queue. Times are ISO 8601, in UTC. */
export interface Job {
  jobId: string;
  queue: string;
  name: string;
  state: string;
  progress?: unknown;
  /** Tries that have ended. */
  attempts: number;
  maxAttempts: number;
  /** Why tries failed, the last one last. */
  errors: string[];
  result?: unknown;
  createdAt: string;
  startedAt: string | null;
  finishedAt: string | null;
}

/** A queue's jobs by state. */
export interface QueueStats {
  name: string;
  /** Prioritised jobs included. */
  waiting: number;
  active: number;
  completed: number;
  failed: number;
  delayed: number;
  prioritized: number;
  paused: boolean;
}

/** The process is alive. */
export interface Health {
  status: "ok";
  version: string;
  uptimeSeconds: number;
}

/** Whether the service can do its work, and if not, which check says so and why. */
export interface Readiness {
  ready: boolean;
  checks: Record<string, { ok: boolean; detail?: string | undefined }>;
}

/** One thing that is wrong with a request. */
export interface Fault {
  /** JSON pointer (RFC 6901) into the body, `/query/<name>`, `/path/<name>` or `/header/<name>`. */
  pointer: string;
  detail: string;
}

export interface CallOptions {
  /** Ends the call, its retries included, with the code `aborted`. What was sent may still be carried out. */
  signal?: AbortSignal | undefined;
}

export interface PostOptions extends CallOptions {
  /**
   * 1 to 255 printable ASCII characters. The same key and body within 24 hours are the same request. Default: a random
   * one for each call, under which its retries are one request. Give your own where your process may repeat the call.
   */
  idempotencyKey?: string | undefined;
}

export interface MessagesOptions extends CallOptions {
  /** Only messages of this status. */
  status?: MessageStatus | undefined;
}

export interface PageOptions extends MessagesOptions {
  /** A `nextCursor`; default: from the start. */
  cursor?: string | undefined;
  /** 1 to 1000; default 100. */
  limit?: number | undefined;
}

export interface WaitOptions extends CallOptions {
  /** Between two looks, milliseconds; default 1000. */
  pollMs?: number | undefined;
  /** For how long faults that may pass (the service restarts) are put up with, milliseconds; default 60,000. */
  patienceMs?: number | undefined;
  /** Told after each look. What it throws ends the wait. */
  onStatus?: ((status: HuntStatus) => void) | undefined;
}

export interface ClientOptions {
  /** Where the service is, e.g. `https://worker.example.com`; a path is kept as a prefix. */
  baseUrl: string;
  /** One of the service's `API_SECRET`s. Keep it on the server: it must never reach a browser. */
  apiSecret: string;
  /** For one attempt, its answer read to the end, milliseconds; default 30,000. */
  timeoutMs?: number | undefined;
  /** Further attempts where the first failed for a reason that may pass; default 3, 0 for none. */
  retries?: number | undefined;
  /** Used in place of the global `fetch`. */
  fetch?: ((url: string, init: RequestInit) => Promise<Response>) | undefined;
}

/** What every call comes to: faults are values, not exceptions. */
export type Result<T> = { ok: true; value: T } | { ok: false; error: ClientError };

interface Failure {
  status?: number | undefined;
  code: string;
  detail: string;
  errors?: Fault[] | undefined;
  requestId?: string | undefined;
  retryable: boolean;
  retryAfterMs?: number | undefined;
  idempotencyKey?: string | undefined;
  cause?: unknown;
}

/** Why a call came to nothing: the service's own problem (RFC 9457), or what kept its answer from coming. */
export class ClientError extends Error {
  override readonly name = "ClientError";
  /** The HTTP status; undefined when there was no answer. */
  readonly status: number | undefined;
  /**
   * The service's, e.g. `unknown_account` (its /docs lists them), or the client's own: `network_error` (no connection, or
   * it broke), `timeout`, `aborted`, `http_error` (something before the service answered), `invalid_answer` (not JSON).
   */
  readonly code: string;
  /** In words. */
  readonly detail: string;
  /** Every fault of the request; empty where the request is not what is wrong. */
  readonly errors: Fault[];
  /** Under which the service's log has it. */
  readonly requestId: string | undefined;
  /** Whether the same call may succeed later. The client's own retries are over by then. */
  readonly retryable: boolean;
  /** When the service wants to be asked again, milliseconds from its answer. */
  readonly retryAfterMs: number | undefined;
  /** Of a POST: repeat the call with it, and whatever the lost answer was, nobody is contacted twice. */
  readonly idempotencyKey: string | undefined;

  constructor({ cause, ...failure }: Failure) {
    super(`${failure.status ?? "no answer"} ${failure.code}: ${failure.detail}`, cause === undefined ? {} : { cause });
    this.status = failure.status;
    this.code = failure.code;
    this.detail = failure.detail;
    this.errors = failure.errors ?? [];
    this.requestId = failure.requestId;
    this.retryable = failure.retryable;
    this.retryAfterMs = failure.retryAfterMs;
    this.idempotencyKey = failure.idempotencyKey;
  }
}

/**
 * The service's API. No method rejects for what a caller cannot help (problems, the network, time-outs, answers that are
 * not JSON): those are `{ ok: false, error }`. Faults that may pass are retried, GETs because they change nothing, POSTs
 * because each carries an `Idempotency-Key` and so stays one request.
 */
export interface Client {
  /** Contacts everybody of a hunt. Errors: `invalid_request`, `unknown_account`, `suspended_account`, `idempotency_conflict`, `hunt_of_other_account`. */
  executeHunt(hunt: NewHunt, options?: PostOptions): Promise<Result<AcceptedHunt>>;
  /** How far the hunt of a submission is. Errors: `not_found`. */
  huntStatus(jobId: string, options?: CallOptions): Promise<Result<HuntStatus>>;
  /** Looks at a hunt until its state is `finished`. Receipts may still come after it. Errors: `not_found`, `aborted`. */
  waitForHunt(jobId: string, options?: WaitOptions): Promise<Result<HuntStatus>>;
  /** One page of what became of each contact. Errors: `not_found`. */
  huntMessages(huntId: string, options?: PageOptions): Promise<Result<MessagePage>>;
  /** What became of each contact, over all pages. A fault is the last thing that it yields. */
  eachHuntMessage(huntId: string, options?: MessagesOptions): AsyncGenerator<Result<Message>, void>;
  /** Sends one WhatsApp text. Errors: as `executeHunt`, and `channel_off`. */
  sendWhatsAppText(text: NewWhatsAppText, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  /** Sends one picture over WhatsApp. Errors, here and for all that follow over WhatsApp: as `sendWhatsAppText`. */
  sendWhatsAppImage(picture: NewPicture, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  sendWhatsAppVideo(video: NewPicture, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  sendWhatsAppAudio(recording: NewRecording, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  sendWhatsAppDocument(document: NewDocument, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  sendWhatsAppLocation(place: NewLocation, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  sendWhatsAppContact(card: NewContactCard, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  sendWhatsAppPoll(poll: NewPoll, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  /**
   * Uploads a file for messages of the account. Errors: `invalid_request`, `unsupported_media_type`, `media_mismatch`,
   * `body_too_large`, `unknown_account`, `suspended_account`.
   */
  uploadMedia(file: NewUpload, options?: CallOptions): Promise<Result<Upload>>;
  /** Sends one SMS. Errors: as `sendWhatsAppText`. */
  sendSms(text: NewText, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  /** Leaves one ringless voicemail. Errors: as `sendWhatsAppText`. */
  sendRinglessVoice(voicemail: NewVoicemail, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  /** What became of a message. Errors: `not_found`. */
  message(messageId: string, options?: CallOptions): Promise<Result<Message>>;
  /** A job of a queue; finished ones are kept for a while. Errors: `not_found`. */
  job(queue: string, jobId: string, options?: CallOptions): Promise<Result<Job>>;
  /** Tries a failed message again, where it provably was not sent. Errors: `not_found`, `not_retryable`. */
  retryJob(queue: string, jobId: string, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  /** One queue, or without a name all of them. Errors: `not_found`. */
  queueStats(queue: string, options?: CallOptions): Promise<Result<QueueStats>>;
  queueStats(options?: CallOptions): Promise<Result<{ queues: QueueStats[] }>>;
  /** Whether the process is alive. */
  health(options?: CallOptions): Promise<Result<Health>>;
  /** Whether the service can do its work. "No" is a value too: `{ ready: false, checks }`. */
  ready(options?: CallOptions): Promise<Result<Readiness>>;
}

const FIRST_BACKOFF_MS = 250;
const MAX_BACKOFF_MS = 8000;
const ITERATOR_PAGE = 1000;
const PRINTABLE = /^[\x20-\x7e]+$/;

/** Statuses that may pass by themselves; 500 as well, since nothing is done twice. */
const PASSING = new Set([408, 425, 429, 500, 502, 503, 504]);
/** 503, but it wants the operator. */
const STAYING = new Set(["channel_off"]);

/** Makes a client. Opens no connection; throws a TypeError for options that can never work. */
export function createClient({ baseUrl, apiSecret, timeoutMs = 30_000, retries = 3, fetch }: ClientOptions): Client {
  if (!URL.canParse(baseUrl) || !/^https?:/.test(baseUrl)) throw new TypeError("baseUrl is not an http(s) address");
  if (!PRINTABLE.test(apiSecret)) throw new TypeError("apiSecret is empty, or not printable ASCII");
  const base = baseUrl.replace(/\/+$/, "");
  // Looked up at each call: Next.js puts its own in place of the global one later.
  const send = fetch ?? ((url: string, init: RequestInit) => globalThis.fetch(url, init));

  interface Call {
    method: "GET" | "POST";
    path: string;
    body?: unknown;
    /** In place of JSON. */
    file?: NewUpload;
    key?: string | undefined;
    signal?: AbortSignal | undefined;
    /** A status other than 2xx that comes with a value. */
    alsoGood?: number;
  }

  async function call<T>(what: Call): Promise<Result<T>> {
    const payload = what.body === undefined ? (what.file?.data as RequestInit["body"]) : JSON.stringify(what.body);
    for (let retry = 0; ; retry++) {
      const result = await attempt<T>(what, payload);
      if (result.ok || !result.error.retryable || retry >= retries) return result;
      const backoffMs = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** retry) * (0.5 + Math.random() / 2);
      const waitMs = Math.max(backoffMs, result.error.retryAfterMs ?? 0);
      // Whoever would have to wait longer than for an answer does better to come back later.
      if (waitMs > timeoutMs) return result;
      if (!(await slept(waitMs, what.signal))) return aborted(what.key);
    }
  }

  async function attempt<T>(
    { method, path, file, key, signal, alsoGood }: Call,
    payload: RequestInit["body"],
  ): Promise<Result<T>> {
    const overdue = AbortSignal.timeout(timeoutMs);
    try {
      const response = await send(base + path, {
        method,
        headers: {
          accept: "application/json, application/problem+json",
          authorization: `Bearer ${apiSecret}`,
          ...(payload === undefined ? {} : { "content-type": file?.contentType ?? "application/json" }),
          ...(key === undefined ? {} : { "idempotency-key": key }),
        },
        ...(payload === undefined ? {} : { body: payload }),
        signal: signal === undefined ? overdue : AbortSignal.any([signal, overdue]),
        // Next.js would answer a GET from its cache.
        cache: "no-store",
        // Followed, a redirect turns a POST into a GET.
        redirect: "manual",
      });
      return read<T>(response, await response.text(), { key, alsoGood });
    } catch (cause) {
      if (signal?.aborted) return aborted(key);
      if (overdue.aborted) {
        const detail = `There was no whole answer within ${timeoutMs} ms.`;
        return failed({ code: "timeout", detail, retryable: true, idempotencyKey: key, cause });
      }
      const detail = `No answer came from ${base}: ${reasonOf(cause)}.`;
      return failed({ code: "network_error", detail, retryable: true, idempotencyKey: key, cause });
    }
  }

  const get = <T>(path: string, { signal }: CallOptions = {}): Promise<Result<T>> =>
    call<T>({ method: "GET", path, signal });

  async function post<T>(
    path: string,
    body: unknown,
    { idempotencyKey, signal }: PostOptions = {},
  ): Promise<Result<T>> {
    const key = idempotencyKey ?? crypto.randomUUID();
    if (key.length <= 255 && PRINTABLE.test(key)) return call<T>({ method: "POST", path, body, key, signal });
    const detail = "must be 1 to 255 printable ASCII characters";
    const errors = [{ pointer: "/header/Idempotency-Key", detail }];
    return failed({ code: "invalid_request", detail: `The idempotency key ${detail}.`, errors, retryable: false });
  }

  const huntStatus: Client["huntStatus"] = (jobId, options) => get(`/api/hunt/status/${part(jobId)}`, options);

  const huntMessages: Client["huntMessages"] = (huntId, { status, cursor, limit, signal } = {}) => {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries({ status, cursor, limit })) {
      if (value !== undefined) query.set(name, String(value));
    }
    return get(`/api/hunt/${part(huntId)}/messages?${query.toString()}`, { signal });
  };

  return {
    executeHunt: (hunt, options) => post("/api/hunt/execute", hunt, options),
    huntStatus,
    huntMessages,
    async waitForHunt(jobId, { pollMs = 1000, patienceMs = 60_000, signal, onStatus } = {}) {
      let failingSince: number | undefined;
      for (;;) {
        const result = await huntStatus(jobId, { signal });
        if (result.ok) {
          failingSince = undefined;
          onStatus?.(result.value);
          if (result.value.state === "finished") return result;
        } else {
          failingSince ??= Date.now();
          if (!result.error.retryable || Date.now() - failingSince >= patienceMs) return result;
        }
        if (!(await slept(pollMs, signal))) return aborted();
      }
    },
    async *eachHuntMessage(huntId, options = {}) {
      let cursor: string | undefined;
      do {
        const page = await huntMessages(huntId, { ...options, cursor, limit: ITERATOR_PAGE });
        if (!page.ok) {
          yield page;
          return;
        }
        for (const value of page.value.messages) yield { ok: true, value };
        cursor = page.value.nextCursor ?? undefined;
      } while (cursor !== undefined);
    },
    sendWhatsAppText: (text, options) => post("/api/whatsapp/text", text, options),
    sendWhatsAppImage: (picture, options) => post("/api/whatsapp/image", picture, options),
    sendWhatsAppVideo: (video, options) => post("/api/whatsapp/video", video, options),
    sendWhatsAppAudio: (recording, options) => post("/api/whatsapp/audio", recording, options),
    sendWhatsAppDocument: (document, options) => post("/api/whatsapp/document", document, options),
    sendWhatsAppLocation: (place, options) => post("/api/whatsapp/location", place, options),
    sendWhatsAppContact: (card, options) => post("/api/whatsapp/contact", card, options),
    sendWhatsAppPoll: (poll, options) => post("/api/whatsapp/poll", poll, options),
    uploadMedia(file, { signal } = {}) {
      const query = new URLSearchParams({ accountId: file.accountId });
      if (file.fileName !== undefined) query.set("fileName", file.fileName);
      return call({ method: "POST", path: `/api/media?${query.toString()}`, file, signal });
    },
    sendSms: (text, options) => post("/api/phone/sms", text, options),
    sendRinglessVoice: (voicemail, options) => post("/api/phone/ringless-voice", voicemail, options),
    message: (messageId, options) => get(`/api/messages/${part(messageId)}`, options),
    job: (queue, jobId, options) => get(`/api/jobs/${part(queue)}/${part(jobId)}`, options),
    retryJob: (queue, jobId, options) => post(`/api/jobs/${part(queue)}/${part(jobId)}/retry`, undefined, options),
    queueStats: ((queue?: string | CallOptions, options?: CallOptions) =>
      typeof queue === "string"
        ? get(`/api/queues/${part(queue)}/stats`, options)
        : get("/api/queues/stats", queue)) as Client["queueStats"],
    health: (options) => get("/health", options),
    ready: ({ signal } = {}) => call({ method: "GET", path: "/ready", signal, alsoGood: 503 }),
  };
}

/** An answer that came whole: a value, a problem, or something that the service would not say. */
function read<T>(
  response: Response,
  text: string,
  { key, alsoGood }: { key: string | undefined; alsoGood: number | undefined },
): Result<T> {
  const { status, headers } = response;
  const type = headers.get("content-type") ?? "";
  const body = type.includes("json") ? parsed(text) : undefined;
  const isProblem = type.includes("problem+json");
  const about = { status, requestId: headers.get("x-request-id") ?? undefined, idempotencyKey: key };
  if (body !== undefined && !isProblem && (response.ok || status === alsoGood)) return { ok: true, value: body as T };
  if (response.ok) {
    const detail = `The answer is not JSON but "${type}": is this the service's address?`;
    return failed({ ...about, code: "invalid_answer", detail, retryable: false });
  }
  const { code, detail, errors, requestId } = (isProblem ? (body ?? {}) : {}) as Partial<ClientError>;
  return failed({
    ...about,
    code: code ?? "http_error",
    detail: detail ?? `Something before the service answered ${status}${redirectOf(headers)}.`,
    errors,
    requestId: requestId ?? about.requestId,
    retryable: PASSING.has(status) && !STAYING.has(code ?? ""),
    retryAfterMs: retryAfterMs(headers.get("retry-after")),
  });
}

function failed(failure: Failure): { ok: false; error: ClientError } {
  return { ok: false, error: new ClientError(failure) };
}

function aborted(key?: string): { ok: false; error: ClientError } {
  const detail = "The caller gave up before there was an answer.";
  return failed({ code: "aborted", detail, retryable: false, idempotencyKey: key });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) ?? undefined;
  } catch {
    return undefined;
  }
}

function part(id: string): string {
  return encodeURIComponent(id);
}

function redirectOf(headers: Headers): string {
  const location = headers.get("location");
  return location === null ? "" : `, a redirect to ${location}: set baseUrl to where the service is`;
}

/** `Retry-After` is a number of seconds or a date (RFC 9110, 10.2.3). */
function retryAfterMs(value: string | null): number | undefined {
  if (value === null) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

/** fetch says "fetch failed"; the reason is in its cause. */
function reasonOf(error: unknown): string {
  const { message, cause } = error as { message?: string; cause?: { code?: string; message?: string } };
  return cause?.code ?? cause?.message ?? message ?? String(error);
}

/** False as soon as the signal aborts. */
function slept(ms: number, signal: AbortSignal | undefined): Promise<boolean> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve(false);
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve(signal?.aborted !== true);
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end, { once: true });
  });
}
