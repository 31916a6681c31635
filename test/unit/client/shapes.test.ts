import { readdirSync, readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { expect, expectTypeOf, test } from "vitest";
import type { z } from "zod";
import type * as api from "../../../src/client.ts";
import { mediaRoutes } from "../../../src/channels/media.routes.ts";
import { singleRoute } from "../../../src/channels/single.routes.ts";
import { accountRoutes } from "../../../src/compliance/accounts.routes.ts";
import { deliveryRoutes } from "../../../src/events/deliveries.routes.ts";
import { endpointRoutes } from "../../../src/events/endpoints.routes.ts";
import type { eventSchema } from "../../../src/events/types.ts";
import { erasureRoutes } from "../../../src/compliance/erasure.routes.ts";
import { suppressionRoutes } from "../../../src/compliance/suppressions.routes.ts";
import type { Route } from "../../../src/core/route.ts";
import type { contactSchema } from "../../../src/hunt/contact.schema.ts";
import { rescheduleRoutes } from "../../../src/hunt/reschedule.routes.ts";
import { steeringRoutes } from "../../../src/hunt/steering.routes.ts";
import { huntRoutes } from "../../../src/hunt/hunt.routes.ts";
import { huntsRoutes } from "../../../src/hunt/hunts.routes.ts";
import type { statusSchema } from "../../../src/hunt/hunt.status.ts";
import { previewRoutes } from "../../../src/hunt/preview.routes.ts";
import type { previewSchema } from "../../../src/hunt/preview.schema.ts";
import { recurrenceRoutes } from "../../../src/hunt/recurring.routes.ts";
import { CHANNELS } from "../../../src/modules.ts";
import { jobRoutes } from "../../../src/routes/jobs.routes.ts";
import { opsRoutes } from "../../../src/routes/ops.routes.ts";
import { failedRoutes } from "../../../src/routes/failed.routes.ts";
import { senderRoutes } from "../../../src/routes/senders.routes.ts";
import type { messageSchema } from "../../../src/store/message-view.ts";
import { templateRoutes } from "../../../src/templates/templates.routes.ts";

test("the client's types are those of the server's schemas", () => {
  expectTypeOf<api.HuntStatus>().toEqualTypeOf<z.output<typeof statusSchema>>();
  expectTypeOf<api.HuntPreview>().toEqualTypeOf<z.output<typeof previewSchema>>();
  expectTypeOf<api.Message>().toEqualTypeOf<z.output<typeof messageSchema>>();
  expectTypeOf<api.EventBody>().toEqualTypeOf<z.output<typeof eventSchema>>();
  type ServersContact = z.output<ReturnType<typeof contactSchema>>;
  expectTypeOf<Omit<api.Contact, "channel" | "channels">>().toEqualTypeOf<
    Omit<ServersContact, "channel" | "channels">
  >();
  const channels: Record<api.Channel, true> = {
    whatsapp_text: true,
    whatsapp_image: true,
    whatsapp_video: true,
    whatsapp_audio: true,
    whatsapp_document: true,
    whatsapp_location: true,
    whatsapp_contact: true,
    whatsapp_poll: true,
    sms: true,
    ringless_voice: true,
  };
  expect(Object.keys(channels)).toEqual(CHANNELS.map(({ name }) => name));
});

/** What a type's keys are; tsc refuses one too many or too few. */
type KeysOf<T> = Record<keyof T, true>;

test("the client's types have exactly the fields that the server documents", () => {
  // Only the declarations are looked at: no handler runs.
  const none = {} as never;
  const routes: Route[] = [
    ...huntRoutes({ channels: new Map(CHANNELS.map((channel) => [channel.name, channel])) } as never),
    ...previewRoutes({
      definitions: new Map(CHANNELS.map((channel) => [channel.name, channel])),
    } as never),
    ...recurrenceRoutes({ channels: new Map(CHANNELS.map((channel) => [channel.name, channel])) } as never),
    ...templateRoutes({ templates: none, channels: CHANNELS.map(({ name }) => name) }),
    ...CHANNELS.map((channel) => singleRoute(channel, none)),
    ...mediaRoutes(none),
    ...steeringRoutes(none),
    ...suppressionRoutes(none),
    ...erasureRoutes({ store: none, removeJobs: none, forgetInbound: none }),
    ...accountRoutes({ accounts: none, channels: CHANNELS.map(({ name }) => name) }),
    ...jobRoutes({ queues: none, store: none }),
    ...endpointRoutes({ events: none, secrets: none, fetchPolicy: undefined, wake: none }),
    ...deliveryRoutes({ events: none, wake: none }),
    ...failedRoutes({ queues: none, store: none, redis: none }),
    ...huntsRoutes({ hunts: none }),
    ...rescheduleRoutes(none),
    ...senderRoutes({ throttle: none }),
    ...opsRoutes({ clock: { now: () => 0, monotonic: () => 0 } } as never),
  ];
  const routeAt = (path: string, method?: Route["method"]): Route => {
    const found = routes.find((route) => route.path === path && (method ?? route.method) === route.method);
    if (!found) throw new Error(`the server has no route ${path}`);
    return found;
  };
  const fieldsOf = (schema: z.ZodType | undefined): string[] => Object.keys((schema as z.ZodObject).shape).toSorted();
  const answers = (path: string, status: number, keys: Record<string, true>, method?: Route["method"]): void =>
    expect(fieldsOf(routeAt(path, method).responses[status]?.schema)).toEqual(Object.keys(keys).toSorted());
  const takes = (path: string, keys: Record<string, true>, method?: Route["method"]): void =>
    expect(fieldsOf(routeAt(path, method).body)).toEqual(Object.keys(keys).toSorted());

  const newHunt: KeysOf<api.NewHunt> = {
    huntId: true,
    accountId: true,
    contacts: true,
    priority: true,
    expiresAt: true,
    sendAt: true,
    timeZone: true,
    windows: true,
    template: true,
    templates: true,
    templateId: true,
    templateVersion: true,
    variants: true,
    fallbackAfterSeconds: true,
  };
  takes("/api/hunt/execute", newHunt);
  takes("/api/hunt/preview", newHunt);
  const newRecurrence: KeysOf<api.NewRecurrence> = {
    accountId: true,
    name: true,
    cron: true,
    timeZone: true,
    until: true,
    count: true,
    expiresAfterSeconds: true,
    hunt: true,
  };
  takes("/api/recurrences", newRecurrence);
  const { accountId: _, ...changes } = newRecurrence;
  takes("/api/recurrences/:recurrenceId", changes satisfies KeysOf<api.RecurrenceChanges>, "patch");
  answers("/api/recurrences", 201, {
    recurrenceId: true,
    contacts: true,
    nextRunAt: true,
  } satisfies KeysOf<api.AcceptedRecurrence>);
  answers("/api/recurrences/:recurrenceId", 200, {
    recurrenceId: true,
    accountId: true,
    name: true,
    cron: true,
    timeZone: true,
    until: true,
    count: true,
    contacts: true,
    runs: true,
    lastRunAt: true,
    lastHuntId: true,
    nextRunAt: true,
    pausedAt: true,
    createdAt: true,
  } satisfies KeysOf<api.Recurrence>);
  const newTemplate: KeysOf<api.NewTemplate> = { accountId: true, name: true, channel: true, text: true };
  takes("/api/templates", newTemplate);
  answers("/api/templates", 201, { templateId: true, version: true } satisfies KeysOf<api.PutTemplate>);
  answers("/api/templates/:templateId", 200, {
    templateId: true,
    accountId: true,
    name: true,
    channel: true,
    version: true,
    text: true,
    createdAt: true,
    updatedAt: true,
    archivedAt: true,
    versions: true,
  } satisfies KeysOf<api.TemplateWithVersions>);
  const to: KeysOf<api.Recipient> = {
    recipientPhone: true,
    senderPhone: true,
    accountId: true,
    category: true,
    consent: true,
  };
  const newText: KeysOf<api.NewText> = { ...to, message: true };
  takes("/api/whatsapp/text", { ...newText, replyTo: true } satisfies KeysOf<api.NewWhatsAppText>);
  const recipient: KeysOf<api.Recipient & api.Quoting> = { ...to, replyTo: true };
  const source: KeysOf<api.MediaSource> = { mediaUrl: true, mediaId: true };
  const picture: KeysOf<api.NewPicture> = { ...recipient, ...source, message: true };
  takes("/api/whatsapp/image", picture);
  takes("/api/whatsapp/video", picture);
  takes("/api/whatsapp/audio", { ...recipient, ...source, voiceNote: true } satisfies KeysOf<api.NewRecording>);
  takes("/api/whatsapp/document", { ...picture, fileName: true } satisfies KeysOf<api.NewDocument>);
  takes("/api/whatsapp/location", {
    ...recipient,
    latitude: true,
    longitude: true,
    placeName: true,
    placeAddress: true,
  } satisfies KeysOf<api.NewLocation>);
  takes("/api/whatsapp/contact", {
    ...recipient,
    contactName: true,
    contactPhone: true,
  } satisfies KeysOf<api.NewContactCard>);
  takes("/api/whatsapp/poll", {
    ...recipient,
    question: true,
    options: true,
    multipleAnswers: true,
  } satisfies KeysOf<api.NewPoll>);
  const steered: KeysOf<api.Steered> = { huntId: true, accountId: true, pausedAt: true, cancelledAt: true };
  for (const action of ["pause", "resume", "cancel"]) answers(`/api/hunt/:huntId/${action}`, 200, steered);
  takes(
    "/api/hunts/:huntId",
    {
      priority: true,
      expiresAt: true,
      sendAt: true,
      timeZone: true,
      windows: true,
    } satisfies KeysOf<api.HuntChanges>,
    "patch",
  );
  answers(
    "/api/hunts/:huntId",
    200,
    {
      huntId: true,
      accountId: true,
      priority: true,
      expiresAt: true,
      sendAt: true,
      windows: true,
    } satisfies KeysOf<api.HuntSchedule>,
    "patch",
  );
  answers("/api/media", 201, {
    mediaId: true,
    size: true,
    contentType: true,
    expiresAt: true,
  } satisfies KeysOf<api.Upload>);
  takes("/api/phone/sms", newText);
  takes("/api/phone/ringless-voice", { ...to, text: true, audioUrl: true } satisfies KeysOf<api.NewVoicemail>);
  takes("/api/suppressions", { phone: true, accountId: true, reason: true } satisfies KeysOf<api.NewSuppression>);
  answers("/api/suppressions", 200, {
    accountId: true,
    phone: true,
    source: true,
    reason: true,
    createdAt: true,
  } satisfies KeysOf<api.Suppression>);
  answers("/api/suppressions/import", 200, {
    taken: true,
    added: true,
    faults: true,
  } satisfies KeysOf<api.ImportedSuppressions>);
  answers("/api/accounts/:accountId", 200, {
    accountId: true,
    status: true,
    defaultCountry: true,
    policy: true,
    limits: true,
    consentDeclared: true,
    resendUnknown: true,
    createdAt: true,
    credits: true,
  } satisfies KeysOf<api.Account>);
  answers("/api/accounts/:accountId/credits", 200, {
    channel: true,
    balance: true,
    reserved: true,
    spent: true,
  } satisfies KeysOf<api.Credits>);
  answers("/api/contacts/:phone", 200, {
    messages: true,
    replies: true,
    leads: true,
    contacts: true,
  } satisfies KeysOf<api.Erased>);
  answers("/api/hunt/execute", 202, { jobId: true, huntId: true, accepted: true } satisfies KeysOf<api.AcceptedHunt>);
  answers("/api/hunt/:huntId/messages", 200, { messages: true, nextCursor: true } satisfies KeysOf<api.MessagePage>);
  const accepted: KeysOf<api.AcceptedMessage> = { jobId: true, queue: true, messageId: true };
  answers("/api/phone/sms", 202, accepted);
  answers("/api/jobs/:queue/:jobId/retry", 202, accepted);
  answers("/api/jobs/:queue/:jobId", 200, {
    jobId: true,
    queue: true,
    name: true,
    state: true,
    progress: true,
    attempts: true,
    maxAttempts: true,
    errors: true,
    result: true,
    createdAt: true,
    startedAt: true,
    finishedAt: true,
  } satisfies KeysOf<api.Job>);
  answers("/api/hunts", 200, { hunts: true, nextCursor: true } satisfies KeysOf<api.HuntPage>);
  answers("/api/hunts/:huntId", 200, {
    jobId: true,
    huntId: true,
    accountId: true,
    state: true,
    total: true,
    counts: true,
    pausedAt: true,
    cancelledAt: true,
    scheduledAt: true,
    startedAt: true,
    finishedAt: true,
    etaSeconds: true,
    priority: true,
    createdAt: true,
    expiresAt: true,
    sendAt: true,
    windows: true,
    reasons: true,
  } satisfies KeysOf<api.HuntWithReasons>);
  const timeline: KeysOf<api.HuntTimeline> = { huntId: true, from: true, to: true, points: true };
  answers("/api/hunts/:huntId/timeline", 200, timeline);
  answers("/api/queues/:queue/failed/retry", 200, {
    retried: true,
    refused: true,
    nextCursor: true,
  } satisfies KeysOf<api.RetriedJobs>);
  const { jobs } = (routeAt("/api/queues/:queue/failed").responses[200]!.schema as z.ZodObject).shape;
  expect(fieldsOf((jobs as z.ZodArray<z.ZodObject>).element)).toEqual(
    Object.keys({
      jobId: true,
      queue: true,
      name: true,
      messageId: true,
      accountId: true,
      huntId: true,
      channel: true,
      attempts: true,
      failedAt: true,
      code: true,
      why: true,
      retryable: true,
      whyNot: true,
    } satisfies KeysOf<api.FailedJob>).toSorted(),
  );
  answers("/api/queues/:queue/stats", 200, {
    name: true,
    waiting: true,
    active: true,
    completed: true,
    failed: true,
    delayed: true,
    prioritized: true,
    paused: true,
  } satisfies KeysOf<api.QueueStats>);
  const { senders } = (routeAt("/api/senders").responses[200]!.schema as z.ZodObject).shape;
  expect(fieldsOf((senders as z.ZodArray<z.ZodObject>).element)).toEqual(
    Object.keys({
      provider: true,
      sender: true,
      perSecond: true,
      minPerSecond: true,
      maxPerSecond: true,
      heldUntil: true,
      lastRefusal: true,
      placed: true,
      waitSeconds: true,
    } satisfies KeysOf<api.Sender>).toSorted(),
  );
  const endpoint: KeysOf<api.WebhookEndpoint> = {
    endpointId: true,
    accountId: true,
    url: true,
    description: true,
    events: true,
    enabled: true,
    disabledBecause: true,
    oldSecretUntil: true,
    lastDeliveredAt: true,
    failures: true,
    createdAt: true,
  };
  const endpoints = "/api/webhook-endpoints";
  takes(endpoints, {
    accountId: true,
    url: true,
    description: true,
    events: true,
  } satisfies KeysOf<api.NewWebhookEndpoint>);
  answers(endpoints, 201, { ...endpoint, secret: true } satisfies KeysOf<api.WebhookEndpointWithSecret>);
  answers(`${endpoints}/:endpointId/rotate`, 200, { ...endpoint, secret: true });
  answers(`${endpoints}/:endpointId/deliveries`, 200, { deliveries: true, nextCursor: true });
  answers(`${endpoints}/:endpointId/test`, 202, {
    deliveryId: true,
    endpointId: true,
    eventId: true,
    type: true,
    state: true,
    attempts: true,
    nextAttemptAt: true,
    createdAt: true,
    endedAt: true,
    log: true,
  } satisfies KeysOf<api.WebhookDelivery>);
  answers("/health", 200, { status: true, version: true, uptimeSeconds: true } satisfies KeysOf<api.Health>);
  answers("/ready", 200, { ready: true, checks: true } satisfies KeysOf<api.Readiness>);
});

test("the client imports nothing, so that it runs wherever there is a fetch", () => {
  const src = new URL("../../../src/", import.meta.url);
  const rooms = readdirSync(new URL("client/", src), { recursive: true, encoding: "utf8" });
  const own = ["client.ts", ...rooms.filter((name) => name.endsWith(".ts")).map((name) => `client/${name}`)];
  const imported = own.flatMap((name) => {
    const source = stripTypeScriptTypes(readFileSync(new URL(name, src), "utf8"));
    expect(source, name).not.toMatch(/^import "|\b(require|import)\(/m);
    return [...source.matchAll(/ from "([^"]+)"/g)].map(([, from = ""]) =>
      from.startsWith(".") ? new URL(from, new URL(name, src)).href.slice(src.href.length) : from,
    );
  });
  expect(imported).toContain("client/calls.ts");
  expect(imported.filter((from) => !own.includes(from))).toEqual([]);
});
