/**
 * The typed client of the service, for programs elsewhere (package export `./client`). It imports nothing but its own
 * folder, so that nothing of the service comes along.
 */
import type {
  Account,
  AccountSettings,
  AcceptedHunt,
  AcceptedMessage,
  AcceptedRecurrence,
  Contact,
  CallOptions,
  DeliveriesOptions,
  EventsOptions,
  Channel,
  Credits,
  Erased,
  FailedJobPage,
  FailedJobsOptions,
  FilePage,
  Health,
  HuntPreview,
  HuntPage,
  HuntsOptions,
  HuntStatus,
  HuntTimeline,
  HuntWithReasons,
  ImportedSuppressions,
  Job,
  LiveEvent,
  Message,
  MessagePage,
  MessagesOptions,
  NewContactCard,
  NewDocument,
  NewHunt,
  NewLocation,
  NewPicture,
  NewPoll,
  NewSmsPreview,
  NewRecording,
  NewSuppression,
  NewRecurrence,
  NewTemplate,
  NewText,
  NewUpload,
  NewVoicemail,
  NewWebhookEndpoint,
  NewWhatsAppText,
  PageOptions,
  PostOptions,
  PutTemplate,
  Recurrence,
  RecurrencePage,
  QueueStats,
  RetriedJobs,
  Sender,
  SmsPreview,
  Readiness,
  Suppression,
  SuppressionPage,
  SuppressionsOptions,
  TemplatePage,
  TemplateWithVersions,
  Upload,
  WaitOptions,
  WebhookDelivery,
  WebhookEndpoint,
  WebhookEndpointChanges,
  WebhookEndpointWithSecret,
  AttentionOptions,
  NewPairing,
  Resolution,
  WhatsAppPace,
  Steered,
  WhatsAppSession,
} from "./client/shapes.ts";
import { aborted, createCalls, slept, type ClientOptions, type Result } from "./client/calls.ts";
import { liveEvents } from "./client/live.ts";

export type * from "./client/shapes.ts";
export { ClientError, type ClientOptions, type Result } from "./client/calls.ts";

/**
 * The service's API. No method rejects for what a caller cannot help (problems, the network, time-outs, answers that are
 * not JSON): those are `{ ok: false, error }`. Faults that may pass are retried, GETs because they change nothing, POSTs
 * because each carries an `Idempotency-Key` and so stays one request.
 */
export interface Client {
  /** Contacts everybody of a hunt. Errors: `invalid_request`, `unknown_account`, `suspended_account`, `idempotency_conflict`, `hunt_of_other_account`, `hunt_cancelled`, `template_archived`. */
  executeHunt(hunt: NewHunt, options?: PostOptions): Promise<Result<AcceptedHunt>>;
  /**
   * What a hunt would do: texts, segments, credits, who would be skipped and when it would end. Writes nothing. Errors: as
   * `executeHunt`. A big hunt takes as long as its planning: give the client a `timeoutMs` of a minute for 100,000 contacts.
   */
  previewHunt(hunt: NewHunt, options?: CallOptions): Promise<Result<HuntPreview>>;
  /**
   * The same for many contacts, 200,000 at the most: they are sent as they are read, and never held all at once. `contacts`
   * is called anew at each attempt and has to give the same ones. An attempt may take five minutes.
   */
  streamHunt(
    hunt: Omit<NewHunt, "contacts">,
    contacts: () => Iterable<Contact> | AsyncIterable<Contact>,
    options?: PostOptions,
  ): Promise<Result<AcceptedHunt>>;
  /** How far the hunt of a submission is. Errors: `not_found`. */
  huntStatus(jobId: string, options?: CallOptions): Promise<Result<HuntStatus>>;
  /** All hunts, the newest first. Errors: `invalid_request`. */
  hunts(options?: HuntsOptions): Promise<Result<HuntPage>>;
  /** One hunt, and why its messages were skipped or failed. Errors: `not_found`. */
  hunt(huntId: string, options?: CallOptions): Promise<Result<HuntWithReasons>>;
  /** A hunt over time, at 2 to 500 moments; default 60. Errors: `not_found`. */
  huntTimeline(huntId: string, options?: CallOptions & { points?: number | undefined }): Promise<Result<HuntTimeline>>;
  /**
   * Looks at a hunt until its state is `finished`, or `cancelled` with nothing planned or being sent any more. Receipts may
   * still come after it. Errors: `not_found`, `aborted`.
   */
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
  /** Counts the segments of an SMS, each of which is charged; sends nothing. Errors: `invalid_request`. */
  previewSms(text: NewSmsPreview, options?: CallOptions): Promise<Result<SmsPreview>>;
  /** Leaves one ringless voicemail. Errors: as `sendWhatsAppText`. */
  sendRinglessVoice(voicemail: NewVoicemail, options?: PostOptions): Promise<Result<AcceptedMessage>>;
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
  /** Has a hunt come again, by a cron pattern. Errors: `invalid_request`, `unknown_account`, `suspended_account`. */
  createRecurrence(recurrence: NewRecurrence, options?: PostOptions): Promise<Result<AcceptedRecurrence>>;
  /** Errors: `not_found`. */
  recurrence(accountId: string, recurrenceId: string, options?: CallOptions): Promise<Result<Recurrence>>;
  /** One page of the account's recurrences, by id. Errors: `invalid_request`. */
  recurrences(
    filter: { accountId: string; cursor?: string | undefined; limit?: number | undefined } & CallOptions,
  ): Promise<Result<RecurrencePage>>;
  /** Begins no more runs (`pause`), or goes on with the next one (`resume`); either may be said again. Errors: `not_found`. */
  steerRecurrence(
    accountId: string,
    recurrenceId: string,
    action: "pause" | "resume",
    options?: CallOptions,
  ): Promise<Result<Recurrence>>;
  /** Ends it for good; hunts that have begun go on. Errors: `not_found`. */
  deleteRecurrence(
    accountId: string,
    recurrenceId: string,
    options?: CallOptions,
  ): Promise<Result<{ recurrenceId: string }>>;
  /** Makes a template. Errors: `invalid_request`, `unknown_account`. */
  createTemplate(template: NewTemplate, options?: PostOptions): Promise<Result<PutTemplate>>;
  /** Gives a template its next version; the same text again is none. Errors: `invalid_request`, `not_found`. */
  putTemplate(templateId: string, template: NewTemplate, options?: CallOptions): Promise<Result<PutTemplate>>;
  /** A template of the account's with its versions. Errors: `not_found`. */
  template(accountId: string, templateId: string, options?: CallOptions): Promise<Result<TemplateWithVersions>>;
  /** One page of the account's templates, without those that are archived. Errors: `invalid_request`. */
  templates(
    filter: CallOptions & { accountId: string; cursor?: string | undefined; limit?: number | undefined },
  ): Promise<Result<TemplatePage>>;
  /** No hunt may use it from then on; those that were accepted go on. Errors: `not_found`. */
  archiveTemplate(
    accountId: string,
    templateId: string,
    options?: CallOptions,
  ): Promise<Result<{ templateId: string }>>;
  /** From now on nothing is sent to that number. Errors: `invalid_request`, `unknown_account`. */
  suppress(entry: NewSuppression, options?: CallOptions): Promise<Result<Suppression>>;
  /** One page of who must not be contacted. Errors: `invalid_request`. */
  suppressions(options?: SuppressionsOptions): Promise<Result<SuppressionPage>>;
  /** Takes an account's entry, or without an account the one for everybody, off the list. Errors: `not_found`. */
  unsuppress(
    entry: { phone: string; accountId?: string | undefined },
    options?: CallOptions,
  ): Promise<Result<{ accountId: string | null; phone: string }>>;
  /** Puts the numbers of a CSV file with a column `phone` on the list; good lines are taken. Errors: `invalid_request`. */
  importSuppressions(
    csv: string | Uint8Array,
    options?: CallOptions & { accountId?: string | undefined },
  ): Promise<Result<ImportedSuppressions>>;
  /** The list as a CSV file, page by page. */
  exportSuppressions(options?: SuppressionsOptions): Promise<Result<FilePage>>;
  /** Forgets a person, for every account. Errors: `invalid_request`, `erasure_off`. */
  erasePerson(phone: string, options?: CallOptions): Promise<Result<Erased>>;
  /** An account's settings and credits. Errors: `not_found`. */
  account(accountId: string, options?: CallOptions): Promise<Result<Account>>;
  /** Makes an account, or replaces its settings: what is absent is at its default. Errors: `invalid_request`. */
  putAccount(accountId: string, settings: AccountSettings, options?: CallOptions): Promise<Result<Account>>;
  /** Changes an account's settings: what is absent stays. Errors: `invalid_request`, `not_found`. */
  changeAccount(accountId: string, changes: AccountSettings, options?: CallOptions): Promise<Result<Account>>;
  /** Adds to what an account may spend on a channel. Errors: `invalid_request`, `not_found`, `idempotency_conflict`. */
  addCredits(
    accountId: string,
    credits: { channel: Channel; amount: number },
    options?: PostOptions,
  ): Promise<Result<Credits>>;
  /** Pauses a hunt, goes on with it, or ends it; may be said again. Errors: `not_found`, `hunt_cancelled`. */
  steerHunt(huntId: string, action: "pause" | "resume" | "cancel", options?: PostOptions): Promise<Result<Steered>>;
  /** Starts pairing a WhatsApp number. Errors: `invalid_request`, `number_taken`, `session_leaving`, `sessions_off`. */
  pairWhatsApp(pairing: NewPairing, options?: PostOptions): Promise<Result<WhatsAppSession>>;
  /** A WhatsApp number: while it is being paired, what to scan or to type. Errors: `not_found`. */
  whatsAppSession(sessionId: string, options?: CallOptions): Promise<Result<WhatsAppSession>>;
  whatsAppSessions(
    options?: CallOptions & { accountId?: string | undefined },
  ): Promise<Result<{ sessions: WhatsAppSession[] }>>;
  /** Replaces a session's own pace. Errors: `invalid_request`, `not_found`. */
  setWhatsAppPace(sessionId: string, pace: WhatsAppPace, options?: PostOptions): Promise<Result<WhatsAppSession>>;
  /** Unlinks the device on the phone and forgets the session. Errors: `not_found`. */
  removeWhatsAppSession(sessionId: string, options?: CallOptions): Promise<Result<{ id: string }>>;
  /** A job of a queue; finished ones are kept for a while. Errors: `not_found`. */
  job(queue: string, jobId: string, options?: CallOptions): Promise<Result<Job>>;
  /** Tries a failed message again, where it provably was not sent. Errors: `not_found`, `not_retryable`. */
  retryJob(queue: string, jobId: string, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  /** Failed jobs of a queue, the last to fail first, and which can be tried again. Errors: `not_found`. */
  failedJobs(queue: string, options?: FailedJobsOptions): Promise<Result<FailedJobPage>>;
  /** Tries those of a page of failed jobs again that provably were not sent. Errors: `not_found`. */
  retryFailedJobs(queue: string, options?: FailedJobsOptions): Promise<Result<RetriedJobs>>;
  /** The same as `retryJob`. */
  retryFailedJob(queue: string, jobId: string, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  /** One queue, or without a name all of them. Errors: `not_found`. */
  queueStats(queue: string, options?: CallOptions): Promise<Result<QueueStats>>;
  queueStats(options?: CallOptions): Promise<Result<{ queues: QueueStats[] }>>;
  /** How fast each sender sends that a provider limits, and why not faster. */
  senders(options?: CallOptions): Promise<Result<{ senders: Sender[] }>>;
  /**
   * Has the account told of events from now on. Errors: `invalid_request`, `unknown_account`, `endpoint_exists` (also where an
   * answer was lost: rotate its secret to have one), `too_many_endpoints` (it has 20: delete one, or have one take more events).
   */
  createWebhookEndpoint(
    endpoint: NewWebhookEndpoint,
    options?: CallOptions,
  ): Promise<Result<WebhookEndpointWithSecret>>;
  webhookEndpoints(
    options?: CallOptions & { accountId?: string | undefined },
  ): Promise<Result<{ endpoints: WebhookEndpoint[] }>>;
  /** Errors: `not_found`. */
  webhookEndpoint(endpointId: string, options?: CallOptions): Promise<Result<WebhookEndpoint>>;
  /** Changes an endpoint, turns it off or on: what is absent stays. Errors: `invalid_request`, `not_found`, `endpoint_exists`. */
  changeWebhookEndpoint(
    endpointId: string,
    changes: WebhookEndpointChanges,
    options?: CallOptions,
  ): Promise<Result<WebhookEndpoint>>;
  /** Gives it a new secret; those so far sign as well for `overlapHours` (default 24). Errors: `not_found`. */
  rotateWebhookSecret(
    endpointId: string,
    options?: CallOptions & { overlapHours?: number | undefined },
  ): Promise<Result<WebhookEndpointWithSecret>>;
  /** With its deliveries. Errors: `not_found`. */
  deleteWebhookEndpoint(endpointId: string, options?: CallOptions): Promise<Result<{ endpointId: string }>>;
  /** Delivers an event `webhook.test`. Errors: `not_found`, `endpoint_off`. */
  testWebhookEndpoint(endpointId: string, options?: CallOptions): Promise<Result<WebhookDelivery>>;
  /** One page of what was delivered, the newest first. Errors: `not_found`. */
  webhookDeliveries(
    endpointId: string,
    options?: DeliveriesOptions,
  ): Promise<Result<{ deliveries: WebhookDelivery[]; nextCursor: string | null }>>;
  /** Errors: `not_found`. */
  webhookDelivery(endpointId: string, deliveryId: string, options?: CallOptions): Promise<Result<WebhookDelivery>>;
  /** Delivers once more, under the same id. Errors: `not_found`, `delivery_pending`. */
  replayWebhookDelivery(
    endpointId: string,
    deliveryId: string,
    options?: CallOptions,
  ): Promise<Result<WebhookDelivery>>;
  /**
   * Events of an account or a hunt as they happen, until the signal aborts. A connection that breaks is taken up where it was.
   * A fault that does not pass is the last thing that it yields. Errors: `not_found`, `invalid_request`.
   */
  events(options: EventsOptions): AsyncGenerator<Result<LiveEvent>, void>;
  /** Whether the process is alive. */
  health(options?: CallOptions): Promise<Result<Health>>;
  /** Whether the service can do its work. "No" is a value too: `{ ready: false, checks }`. */
  ready(options?: CallOptions): Promise<Result<Readiness>>;
}

const ITERATOR_PAGE = 1000;
const ACCOUNTS = "/api/accounts";
const SESSIONS = "/api/whatsapp/sessions";
const ENDPOINTS = "/api/webhook-endpoints";
const SUPPRESSIONS = "/api/suppressions";
const TEMPLATES = "/api/templates";
const RECURRENCES = "/api/recurrences";

/** Makes a client. Opens no connection; throws a TypeError for options that can never work. */
export function createClient(options: ClientOptions): Client {
  const calls = createCalls(options);
  const { call, get, post, postLines } = calls;

  const huntStatus: Client["huntStatus"] = (jobId, options) => get(`/api/hunt/status/${part(jobId)}`, options);

  const huntMessages: Client["huntMessages"] = (huntId, { signal, ...filter } = {}) =>
    get(`/api/hunt/${part(huntId)}/messages${queryOf(filter)}`, { signal });

  return {
    executeHunt: (hunt, options) => post("/api/hunt/execute", hunt, options),
    // No `Idempotency-Key`: it may be asked as often as one likes.
    previewHunt: (hunt, { signal } = {}) => call({ method: "POST", path: "/api/hunt/preview", body: hunt, signal }),
    streamHunt: (hunt, contacts, options) =>
      postLines(
        "/api/hunt/execute",
        async function* () {
          yield hunt;
          yield* contacts();
        },
        options,
      ),
    huntStatus,
    huntMessages,
    hunts: ({ signal, ...filter } = {}) => get(`/api/hunts${queryOf(filter)}`, { signal }),
    hunt: (huntId, options) => get(`/api/hunts/${part(huntId)}`, options),
    huntTimeline: (huntId, { signal, ...filter } = {}) =>
      get(`/api/hunts/${part(huntId)}/timeline${queryOf(filter)}`, { signal }),
    async waitForHunt(jobId, { pollMs = 1000, patienceMs = 60_000, signal, onStatus } = {}) {
      let failingSince: number | undefined;
      for (;;) {
        const result = await huntStatus(jobId, { signal });
        if (result.ok) {
          failingSince = undefined;
          onStatus?.(result.value);
          if (hasEnded(result.value)) return result;
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
    previewSms: (text, { signal } = {}) => call({ method: "POST", path: "/api/phone/sms/preview", body: text, signal }),
    sendRinglessVoice: (voicemail, options) => post("/api/phone/ringless-voice", voicemail, options),
    message: (messageId, options) => get(`/api/messages/${part(messageId)}`, options),
    messages: ({ signal, ...filter }) => get(`/api/messages${queryOf(filter)}`, { signal }),
    resolveMessage: (messageId, as, options) => post(`/api/messages/${part(messageId)}/resolve`, { as }, options),
    createRecurrence: (recurrence, options) => post(RECURRENCES, recurrence, options),
    recurrence: (accountId, recurrenceId, options) =>
      get(`${RECURRENCES}/${part(recurrenceId)}${queryOf({ accountId })}`, options),
    recurrences: ({ signal, ...filter }) => get(`${RECURRENCES}${queryOf(filter)}`, { signal }),
    steerRecurrence: (accountId, recurrenceId, action, { signal } = {}) =>
      call({ method: "POST", path: `${RECURRENCES}/${part(recurrenceId)}/${action}${queryOf({ accountId })}`, signal }),
    deleteRecurrence: (accountId, recurrenceId, { signal } = {}) =>
      call({ method: "DELETE", path: `${RECURRENCES}/${part(recurrenceId)}${queryOf({ accountId })}`, signal }),
    createTemplate: (template, options) => post(TEMPLATES, template, options),
    putTemplate: (templateId, template, { signal } = {}) =>
      call({ method: "PUT", path: `${TEMPLATES}/${part(templateId)}`, body: template, signal }),
    template: (accountId, templateId, options) =>
      get(`${TEMPLATES}/${part(templateId)}${queryOf({ accountId })}`, options),
    templates: ({ signal, ...filter }) => get(`${TEMPLATES}${queryOf(filter)}`, { signal }),
    archiveTemplate: (accountId, templateId, { signal } = {}) =>
      call({ method: "DELETE", path: `${TEMPLATES}/${part(templateId)}${queryOf({ accountId })}`, signal }),
    suppress: (entry, { signal } = {}) => call({ method: "POST", path: SUPPRESSIONS, body: entry, signal }),
    suppressions: ({ signal, ...filter } = {}) => get(`${SUPPRESSIONS}${queryOf(filter)}`, { signal }),
    unsuppress: (entry, { signal } = {}) =>
      call({ method: "DELETE", path: `${SUPPRESSIONS}${queryOf(entry)}`, signal }),
    importSuppressions(csv, { signal, ...filter } = {}) {
      const file = { data: typeof csv === "string" ? new TextEncoder().encode(csv) : csv, contentType: "text/csv" };
      return call({ method: "POST", path: `${SUPPRESSIONS}/import${queryOf(filter)}`, file, signal });
    },
    exportSuppressions: ({ signal, ...filter } = {}) =>
      call({ method: "GET", path: `${SUPPRESSIONS}/export${queryOf(filter)}`, signal, asFile: true }),
    erasePerson: (phone, { signal } = {}) => call({ method: "DELETE", path: `/api/contacts/${part(phone)}`, signal }),
    account: (accountId, options) => get(`${ACCOUNTS}/${part(accountId)}`, options),
    putAccount: (accountId, settings, { signal } = {}) =>
      call({ method: "PUT", path: `${ACCOUNTS}/${part(accountId)}`, body: settings, signal }),
    changeAccount: (accountId, changes, { signal } = {}) =>
      call({ method: "PATCH", path: `${ACCOUNTS}/${part(accountId)}`, body: changes, signal }),
    addCredits: (accountId, credits, options) => post(`${ACCOUNTS}/${part(accountId)}/credits`, credits, options),
    pairWhatsApp: (pairing, options) => post(SESSIONS, pairing, options),
    whatsAppSession: (sessionId, options) => get(`${SESSIONS}/${part(sessionId)}`, options),
    whatsAppSessions: ({ signal, ...filter } = {}) => get(`${SESSIONS}${queryOf(filter)}`, { signal }),
    setWhatsAppPace: (sessionId, pace, options) => post(`${SESSIONS}/${part(sessionId)}/settings`, pace, options),
    removeWhatsAppSession: (sessionId, { signal } = {}) =>
      call({ method: "DELETE", path: `${SESSIONS}/${part(sessionId)}`, signal }),
    steerHunt: (huntId, action, options) => post(`/api/hunt/${part(huntId)}/${action}`, undefined, options),
    job: (queue, jobId, options) => get(`/api/jobs/${part(queue)}/${part(jobId)}`, options),
    retryJob: (queue, jobId, options) => post(`/api/jobs/${part(queue)}/${part(jobId)}/retry`, undefined, options),
    failedJobs: (queue, { signal, ...filter } = {}) =>
      get(`/api/queues/${part(queue)}/failed${queryOf(filter)}`, { signal }),
    retryFailedJobs: (queue, { signal, ...filter } = {}) =>
      post(`/api/queues/${part(queue)}/failed/retry${queryOf(filter)}`, undefined, { signal }),
    retryFailedJob: (queue, jobId, options) =>
      post(`/api/queues/${part(queue)}/failed/${part(jobId)}/retry`, undefined, options),
    queueStats: ((queue?: string | CallOptions, options?: CallOptions) =>
      typeof queue === "string"
        ? get(`/api/queues/${part(queue)}/stats`, options)
        : get("/api/queues/stats", queue)) as Client["queueStats"],
    senders: (options) => get("/api/senders", options),
    createWebhookEndpoint: (endpoint, options) => post(ENDPOINTS, endpoint, options),
    webhookEndpoints: ({ signal, ...filter } = {}) => get(`${ENDPOINTS}${queryOf(filter)}`, { signal }),
    webhookEndpoint: (endpointId, options) => get(`${ENDPOINTS}/${part(endpointId)}`, options),
    changeWebhookEndpoint: (endpointId, changes, { signal } = {}) =>
      call({ method: "PATCH", path: `${ENDPOINTS}/${part(endpointId)}`, body: changes, signal }),
    rotateWebhookSecret: (endpointId, { signal, ...body } = {}) =>
      post(`${ENDPOINTS}/${part(endpointId)}/rotate`, body, { signal }),
    deleteWebhookEndpoint: (endpointId, { signal } = {}) =>
      call({ method: "DELETE", path: `${ENDPOINTS}/${part(endpointId)}`, signal }),
    testWebhookEndpoint: (endpointId, options) => post(`${ENDPOINTS}/${part(endpointId)}/test`, undefined, options),
    webhookDeliveries: (endpointId, { signal, ...filter } = {}) =>
      get(`${ENDPOINTS}/${part(endpointId)}/deliveries${queryOf(filter)}`, { signal }),
    webhookDelivery: (endpointId, deliveryId, options) =>
      get(`${ENDPOINTS}/${part(endpointId)}/deliveries/${part(deliveryId)}`, options),
    replayWebhookDelivery: (endpointId, deliveryId, options) =>
      post(`${ENDPOINTS}/${part(endpointId)}/deliveries/${part(deliveryId)}/replay`, undefined, options),
    events: (wanted) => liveEvents(calls, wanted),
    health: (options) => get("/health", options),
    ready: ({ signal } = {}) => call({ method: "GET", path: "/ready", signal, alsoGood: 503 }),
  };
}

/** What was being sent when a hunt was cancelled is still sent. */
function hasEnded({ state, finishedAt }: HuntStatus): boolean {
  return state === "finished" || (state === "cancelled" && finishedAt !== null);
}

function part(id: string): string {
  return encodeURIComponent(id);
}

/** Without what is absent. */
function queryOf(filter: object): string {
  const given = Object.entries(filter).filter(([, value]) => value !== undefined);
  const query = new URLSearchParams(given.map(([name, value]): [string, string] => [name, String(value)])).toString();
  return query === "" ? "" : `?${query}`;
}
