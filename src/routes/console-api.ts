import type { NextFunction, Request, Response, Router } from "express";
import type { Route } from "../core/route.ts";
import { stateOf } from "./context.ts";
import { dispatch, type DispatchOptions } from "./dispatch.ts";
import { httpProblem } from "./problems.ts";

/** What of the API the console may do for who is logged in. Nothing that sends to somebody new, erases or pays. */
export const CONSOLE_ROUTES: readonly string[] = [
  "get /api/hunts",
  "get /api/hunts/:huntId",
  "get /api/hunts/:huntId/timeline",
  "patch /api/hunts/:huntId",
  "get /api/hunt/:huntId/messages",
  "post /api/hunt/:huntId/pause",
  "post /api/hunt/:huntId/resume",
  "post /api/hunt/:huntId/cancel",
  "get /api/messages",
  "post /api/messages/:messageId/resolve",
  "get /api/whatsapp/sessions",
  "post /api/whatsapp/sessions",
  "get /api/whatsapp/sessions/:sessionId",
  "get /api/whatsapp/sessions/:sessionId/qr.png",
  "delete /api/whatsapp/sessions/:sessionId",
  "get /api/senders",
  "get /api/suppressions",
  "post /api/suppressions",
  "delete /api/suppressions",
  "post /api/suppressions/import",
  "get /api/suppressions/export",
  "get /api/queues/stats",
  "get /api/queues/:queue/failed",
  "post /api/queues/:queue/failed/retry",
  "post /api/queues/:queue/failed/:jobId/retry",
];

/** What a form of another site cannot send without asking first. */
const SAFE_TYPES = /^(application\/json|text\/csv)\b/i;

/** The console's part of the API below `/admin`, by the very handlers of `/api`. To be mounted behind the login. */
export function mountConsoleApi(router: Router, routes: readonly Route[], options: DispatchOptions): void {
  const allowed = routes.filter(({ method, path }) => CONSOLE_ROUTES.includes(`${method} ${path}`));
  router.use("/api", fromTheConsole);
  for (const route of allowed) router[route.method](route.path, dispatch(`/admin${route.path}`, [route], options));
}

/**
 * Stands before the console's API, beside the check of every page of the operator's: even reading is for pages of ours
 * alone, and a change has a Content-Type that no form has. Whoever is logged in needs no Bearer token.
 */
function fromTheConsole(request: Request, response: Response, next: NextFunction): void {
  const site = request.headers["sec-fetch-site"];
  if (site !== undefined && site !== "same-origin") {
    throw httpProblem("cross_site_request", "Only the console itself may ask here.");
  }
  const reads = request.method === "GET" || request.method === "HEAD";
  if (!reads && !SAFE_TYPES.test(request.headers["content-type"] ?? "")) {
    throw httpProblem("unsupported_media_type", "A change is sent as application/json, a file as text/csv.");
  }
  stateOf(response).authenticated = true;
  next();
}
