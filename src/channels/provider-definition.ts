import type { Logger } from "pino";
import type { z } from "zod";
import type { FetchPolicy } from "../core/addresses.ts";
import type { Clock } from "../core/clock.ts";
import type { Inbound } from "../core/inbound.ts";
import type { Fault } from "../core/problem.ts";
import type { Route } from "../core/route.ts";
import type { SessionStore } from "../store/sessions.ts";
import type { LaneHost } from "./lanes.ts";
import type { Provider } from "./provider.ts";
import type { WebhookDeps } from "./webhooks.ts";

/** A provider as the registry knows it: its variables, and how to make it from them. */
export interface ProviderDefinition<Env extends z.ZodRawShape = z.ZodRawShape, Content = unknown> {
  readonly name: string;
  /** The environment variables that it reads, each optional and with a `.describe()`; documented from here. */
  readonly env: Env;
  /** `absent` when no credentials are given; every fault of a half-given group otherwise. `pointer` is the variable. */
  configured(env: z.output<z.ZodObject<Env>>): "present" | "absent" | Fault[];
  /**
   * Asks the vendor something harmless that wants the credentials: what is wrong, in words, or undefined. Rejects where the
   * vendor cannot be asked. For `npm run doctor`.
   */
  verify?(env: z.output<z.ZodObject<Env>>): Promise<string | undefined>;
  create(env: z.output<z.ZodObject<Env>>, deps: ProviderDeps): Promise<Provider<Content>>;
  /**
   * The public routes to which the vendor reports; each verifies its caller (see `webhooks.ts`). Asked for whenever there
   * are credentials, also while another provider is chosen: what was sent before is still reported on.
   */
  webhooks?(env: z.output<z.ZodObject<Env>>, deps: WebhookDeps): Promise<Route[]>;
}

export interface ProviderDeps {
  clock: Clock;
  log: Logger;
  inbound: Inbound;
  sessions: SessionStore;
  lanes: LaneHost;
  /** What addresses of callers may be fetched; default: public ones. */
  fetchPolicy: FetchPolicy | undefined;
  /** Where vendors reach this service, without a slash at its end; undefined: nowhere, so that no webhook comes. */
  publicUrl: string | undefined;
}
