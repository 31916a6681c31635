import { Router } from "express";
import type { NextFunction, Request, Response } from "express";
import type { Logger } from "pino";
import type { Clock } from "../core/clock.ts";
import type { Route } from "../core/route.ts";
import { SESSION_COOKIE, cookieOf, createSessions, sessionCookie } from "./admin-session.ts";
import type { SecretCheck } from "./auth.ts";
import { readBody } from "./body.ts";
import { boardGuard, createBoard, type Shown } from "./bull-board.ts";
import { mountConsoleApi } from "./console-api.ts";
import { createConsoleFiles, type ConsoleFile } from "./console-files.ts";
import { stateOf } from "./context.ts";
import { loginPage, logoutPage } from "./login-page.ts";
import { createLoginThrottle } from "./login-throttle.ts";
import type { LimiterStore } from "./login-throttle.ts";
import type { Page } from "./page.ts";
import { httpProblem } from "./problems.ts";
import { send } from "./respond.ts";

const LOGIN = "/admin/login";
const CONSOLE = "/admin";
const BOARD = "/admin/queues";
const MAX_FORM_BYTES = 4_096;

export interface AdminOptions {
  apiSecrets: readonly string[];
  /** Over the same secrets, in the same order. */
  secrets: SecretCheck;
  queues: Shown;
  /** Those of the API; the console may use some of them. */
  routes: readonly Route[];
  maxBodyBytes: number;
  /** Refuses new work while the service stops. */
  refuse(request: Request, response: Response, next: NextFunction): void;
  clock: Clock;
  log: Logger;
  limiterStore?: LimiterStore | undefined;
}

/** The operator's pages: a login for browsers, the console and Bull Board behind it. */
export function adminRouter(options: AdminOptions): Router {
  const { apiSecrets, secrets, queues, routes, maxBodyBytes, refuse, clock, log, limiterStore } = options;
  const sessions = createSessions(apiSecrets, clock);
  const throttle = createLoginThrottle(limiterStore, log);
  const router = Router({ caseSensitive: true });

  const isLoggedIn = (request: Request): boolean => {
    const token = cookieOf(request.headers.cookie, SESSION_COOKIE);
    return token !== undefined && sessions.isValid(token);
  };

  router.use(pageHeaders, refuseCrossSite);
  router.get("/login", (request, response) => {
    if (isLoggedIn(request)) redirect(response, CONSOLE);
    else sendPage(response, 200, loginPage());
  });

  router.post("/login", async (request, response) => {
    const secret = await readSecret(request);
    const address = request.ip ?? "unknown";
    const waitSeconds = await throttle.attempt(address);
    if (waitSeconds !== undefined) {
      const headers = { "Retry-After": String(waitSeconds) };
      const detail = `Too many attempts. Wait ${waitSeconds} seconds.`;
      stateOf(response).log.warn({ waitSeconds }, "login refused: too many attempts");
      if (!wantsHtml(request)) throw httpProblem("too_many_attempts", detail, { headers });
      sendPage(response, 429, loginPage(detail), headers);
      return;
    }
    const secretIndex = secrets.indexOf(secret);
    if (secretIndex < 0) {
      stateOf(response).log.warn("login refused: wrong secret");
      if (!wantsHtml(request)) throw httpProblem("login_required", "This secret is not known.");
      sendPage(response, 401, loginPage("This secret is not known."));
      return;
    }
    throttle.forgive(address);
    stateOf(response).log.info("logged in");
    redirect(response, CONSOLE, { "Set-Cookie": sessionCookie(sessions.issue(secretIndex), request.secure) });
  });

  router.get("/logout", (_request, response) => sendPage(response, 200, logoutPage()));
  router.post("/logout", (request, response) => {
    redirect(response, LOGIN, { "Set-Cookie": sessionCookie(undefined, request.secure) });
  });

  router.use((request, response, next) => {
    if (isLoggedIn(request)) return next();
    if (!wantsHtml(request)) throw httpProblem("login_required", `Log in at ${LOGIN}.`);
    redirect(response, LOGIN);
  });
  const files = createConsoleFiles();
  router.get("/", (_request, response) => sendPage(response, 200, files.page()));
  router.get("/console/:file", (request, response, next) => {
    const file = files.file(request.params.file);
    if (file) sendFile(request, response, file);
    else next();
  });
  router.use("/api", refuse);
  mountConsoleApi(router, routes, { secrets, maxBodyBytes });
  router.use("/queues", boardGuard, createBoard({ queues, basePath: BOARD }));
  return router;
}

function pageHeaders(request: Request, response: Response, next: NextFunction): void {
  stateOf(response).route = "/admin";
  // With `no-referrer`, browsers would send `Origin: null` along with our own forms.
  response.setHeader("Referrer-Policy", "same-origin");
  if (!request.path.startsWith("/queues/static/")) response.setHeader("Cache-Control", "no-store");
  next();
}

/**
 * The cookie is SameSite=Strict, but a sibling subdomain is the same site. Browsers say where a request comes from in
 * Sec-Fetch-Site, or (over plain HTTP, and old ones) in Origin; whatever says neither is no browser and was not lured.
 */
function refuseCrossSite(request: Request, _response: Response, next: NextFunction): void {
  if (request.method === "GET" || request.method === "HEAD" || request.method === "OPTIONS") return next();
  const site = request.headers["sec-fetch-site"];
  const { origin } = request.headers;
  const isOurs = site === undefined ? origin === undefined || hostOf(origin) === request.host : site === "same-origin";
  if (isOurs) return next();
  throw httpProblem("cross_site_request", "This request was sent by a page of another site.");
}

function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}

async function readSecret(request: Request): Promise<string> {
  if (!request.is("application/x-www-form-urlencoded")) {
    throw httpProblem("unsupported_media_type", "Send the form as application/x-www-form-urlencoded.");
  }
  const form = await readBody(request, MAX_FORM_BYTES);
  return new URLSearchParams(form.toString("utf8")).get("secret") ?? "";
}

function wantsHtml(request: Request): boolean {
  return request.headers.accept?.includes("text/html") === true;
}

/** Asked for anew each time, and then mostly with an answer of a few bytes: a new release counts at once. */
function sendFile(request: Request, response: Response, file: ConsoleFile): void {
  const headers = { "Cache-Control": "private, no-cache", ETag: file.etag, Vary: "Accept-Encoding" };
  if (request.headers["if-none-match"] === file.etag) return send(response, 304, undefined, headers);
  const zipped = request.acceptsEncodings("gzip") === "gzip";
  const encoding = zipped ? { "Content-Encoding": "gzip" } : {};
  send(response, 200, zipped ? file.gzip : file.plain, { ...headers, ...encoding, "Content-Type": file.type });
}

function redirect(response: Response, location: string, headers: Record<string, string> = {}): void {
  send(response, 303, undefined, { ...headers, Location: location });
}

function sendPage(
  response: Response,
  status: number,
  { html, headers }: Page,
  extra: Record<string, string> = {},
): void {
  send(response, status, html, { ...headers, ...extra });
}
