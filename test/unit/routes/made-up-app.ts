import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Express } from "express";
import { z } from "zod";
import type { Clock } from "../../../src/core/clock.ts";
import { UnavailableError } from "../../../src/core/errors.ts";
import { NO_TRACING } from "../../../src/core/tracing.ts";
import { createLogger } from "../../../src/core/logger.ts";
import { keepOutput, keepPrivate } from "../../helpers/output.ts";
import { notFound } from "../../../src/core/problem.ts";
import { route } from "../../../src/core/route.ts";
import type { Route } from "../../../src/core/route.ts";
import { createApp } from "../../../src/routes/index.ts";
import type { AppOptions } from "../../../src/routes/index.ts";

export const SECRET = "first-secret-of-two";
export const OTHER_SECRET = "second-secret-of-two";
export const BEARER = `Bearer ${SECRET}`;
export const MAX_BODY_BYTES = 2_048;

/** A clock that a test moves. */
export interface HandClock extends Clock {
  ms: number;
}

export function handClock(): HandClock {
  const clock = { ms: Date.UTC(2026, 0, 15), now: () => clock.ms, monotonic: () => clock.ms };
  return clock;
}

const common = { tag: "Made up", summary: "A made-up route", responses: { 200: { description: "Fine." } } };

/** Small routes, one for each kind of behaviour. */
export function madeUpRoutes(): Route[] {
  return [
    route({
      ...common,
      method: "get",
      path: "/health",
      public: true,
      handle: async () => ({ status: 200, body: { ok: true } }),
    }),
    route({
      ...common,
      method: "post",
      path: "/api/things",
      idempotent: true,
      query: z.object({ limit: z.coerce.number().int().min(1).optional(), dry: z.enum(["yes", "no"]).optional() }),
      body: z.object({
        name: z.string().min(1),
        count: z.number().int().max(10).default(1),
        kind: z.enum(["big", "small"]).optional(),
        tags: z.array(z.string()).optional(),
      }),
      handle: async ({ body, query, idempotency }) => ({ status: 202, body: { body, query, idempotency } }),
    }),
    route({
      ...common,
      method: "get",
      path: "/api/things/:thingId",
      params: z.object({ thingId: z.string().regex(/^[a-z0-9 ]+$/) }),
      handle: async ({ params, log }) => {
        log.info("looked up");
        throw notFound("thing", params.thingId);
      },
    }),
    route({
      ...common,
      method: "post",
      path: "/api/things/:thingId/retry",
      idempotent: true,
      params: z.object({ thingId: z.string() }),
      handle: async ({ idempotency }) => ({ status: 202, body: { idempotency } }),
    }),
    route({
      ...common,
      method: "get",
      path: "/api/broken",
      handle: async () => {
        throw Object.assign(new Error("connect postgres://admin:hunter2@db to +33612345678"), {
          config: { data: "the text of a message" },
        });
      },
    }),
    route({
      ...common,
      method: "get",
      path: "/api/away/:dependency",
      params: z.object({ dependency: z.enum(["database", "redis"]) }),
      handle: async ({ params }) => {
        throw new UnavailableError(params.dependency, "ECONNREFUSED 10.0.0.7");
      },
    }),
  ];
}

export interface LogLine {
  level: string;
  msg: string;
  [field: string]: unknown;
}

/** The app over made-up routes, and what it logs. */
export function madeUpApp(overrides: Partial<AppOptions> = {}) {
  const lines: LogLine[] = [];
  const log = createLogger({
    level: "debug",
    destination: {
      write(line: string) {
        keepOutput(line.trimEnd());
        lines.push(JSON.parse(line) as LogLine);
      },
    },
  });
  keepPrivate("secret", SECRET, OTHER_SECRET);
  const clock = handClock();
  const app = createApp({
    routes: madeUpRoutes(),
    apiSecrets: [SECRET, OTHER_SECRET],
    maxBodyBytes: MAX_BODY_BYTES,
    trustProxy: false,
    log,
    tracing: NO_TRACING,
    clock,
    queues: { all: [], lanes: async () => [] },
    isStopping: () => false,
    info: { title: "Made-up API", version: "1.2.3" },
    ...overrides,
  });
  return { app, clock, lines };
}

/** A real server on a free port, for what supertest hides. */
export async function listen(app: Express) {
  const server = createServer(app).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
