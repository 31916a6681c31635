import type { Calls } from "./calls.ts";
import { liveEvents } from "./live.ts";
import { part, queryOf } from "./paths.ts";
import type { Result } from "./result.ts";
import type {
  CallOptions,
  DeliveriesOptions,
  EventsOptions,
  LiveEvent,
  NewWebhookEndpoint,
  WebhookDelivery,
  WebhookEndpoint,
  WebhookEndpointChanges,
  WebhookEndpointWithSecret,
} from "./shapes.ts";

const ENDPOINTS = "/api/webhook-endpoints";

/** What happened: delivered to endpoints, or as it happens. */
export interface EventCalls {
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
}

export function eventCalls(calls: Calls): EventCalls {
  const { call, get, post } = calls;
  return {
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
  };
}
