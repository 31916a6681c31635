import express from "express";
import type { Express, NextFunction, Request, Response } from "express";
import type { Logger } from "pino";
import type { Clock } from "../core/clock.ts";
import type { Tracing } from "../core/tracing.ts";
import type { Route } from "../core/route.ts";
import type { Shown } from "./bull-board.ts";
import { adminRouter } from "./admin.ts";
import { bearerGate, createSecretCheck } from "./auth.ts";
import { requestContext, stateOf } from "./context.ts";
import { dispatch } from "./dispatch.ts";
import type { DispatchOptions } from "./dispatch.ts";
import { docsRoutes } from "./docs.ts";
import { errorHandler } from "./error-mapper.ts";
import type { LimiterStore } from "./login-throttle.ts";
import { httpProblem } from "./problems.ts";
import { send } from "./respond.ts";

export interface AppOptions {
  routes: readonly Route[];
  /** Each of them is good; several, so that one can be rotated out. */
  apiSecrets: readonly string[];
  /** Of a body after decompression. */
  maxBodyBytes: number;
  /** How many proxies stand in front, or `false`: whose `X-Forwarded-*` headers are believed. */
  trustProxy: number | false;
  log: Logger;
  tracing: Pick<Tracing, "request">;
  clock: Clock;
  /** The queues that Bull Board shows. */
  queues: Shown;
  /** Where failed logins are counted; in this process alone unless given. */
  limiterStore?: LimiterStore;
  /** Without the operator's pages and the documents. */
  bare?: boolean;
  /** From then on every answer closes its connection. */
  isStopping: () => boolean;
  info: { title: string; version: string };
}

/**
 * The Express application, derived from the table of routes: request id, security headers and access log, then the
 * public routes, the Bearer gate before `/api`, the other routes, the operator's pages, and the error mapper.
 */
export function createApp(options: AppOptions): Express {
  const {
    routes,
    apiSecrets,
    maxBodyBytes,
    trustProxy,
    log,
    clock,
    queues,
    limiterStore,
    isStopping,
    info,
    bare = false,
  } = options;
  const secrets = createSecretCheck(apiSecrets);
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.enable("case sensitive routing");
  app.set("trust proxy", trustProxy);

  app.use(requestContext({ log, tracing: options.tracing, clock, isStopping }));
  const open = [...routes.filter((route) => route.public), ...(bare ? [] : docsRoutes(routes, info))];
  mount(app, open, { secrets, maxBodyBytes });
  // Before the routes behind it, so that neither an unknown path nor a wrong method tells a stranger what exists.
  const refuse = refuseWhile(isStopping);
  app.use("/api", bearerGate(secrets), refuse);
  mount(
    app,
    routes.filter((route) => !route.public),
    { secrets, maxBodyBytes },
  );
  if (!bare) {
    const admin = { apiSecrets, secrets, queues, routes, maxBodyBytes, refuse, clock, log, limiterStore };
    app.use("/admin", adminRouter(admin));
  }
  app.use(noSuchRoute);
  app.use(errorHandler);
  return app;
}

/** The listener stays open during a drain, so that whoever still comes gets an answer that says to come again. */
function refuseWhile(isStopping: () => boolean) {
  return (_request: Request, _response: Response, next: NextFunction): void => {
    if (isStopping()) {
      const headers = { "Retry-After": "2" };
      throw httpProblem("stopping", "The service is stopping and takes no new work.", { headers });
    }
    next();
  };
}

function mount(app: Express, routes: readonly Route[], options: DispatchOptions): void {
  const byPath = Map.groupBy(routes, (route) => route.path);
  for (const [path, siblings] of byPath) app.all(path, dispatch(path, siblings, options));
}

function noSuchRoute(request: Request, response: Response, _next: NextFunction): void {
  const { allowed } = stateOf(response);
  if (allowed === undefined) {
    throw httpProblem("unknown_route", "There is nothing at this path. /docs lists what there is.");
  }
  const headers = { Allow: [...allowed, "OPTIONS"].toSorted().join(", ") };
  if (request.method === "OPTIONS") return send(response, 204, undefined, headers);
  throw httpProblem("method_not_allowed", `This path answers ${headers.Allow}.`, { headers });
}
