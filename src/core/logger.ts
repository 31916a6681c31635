import { pino } from "pino";
import type { DestinationStream, LevelWithSilent, Logger } from "pino";

/** Values under these names are secrets, or belong to a person. Compared in lower case without `-` and `_`. */
const PRIVATE_KEYS = new Set(
  [
    ["authorization", "proxyauthorization", "cookie", "setcookie"],
    ["message", "text", "body", "content", "caption", "audiourl", "mediaurl", "payload", "rawbody"],
    ["to", "from", "recipient", "sender", "msisdn", "jid", "phones", "phonenumber", "tokens", "secrets", "apisecrets"],
  ].flat(),
);
const PRIVATE_ENDINGS = /(?:secret|token|password|apikey|servicekey|privatekey|phone)$/;
const MAX_DEPTH = 8;
const MAX_ITEMS = 100;

/** Says what stands in place of a private value. */
export type Censor = (value: unknown, key: string) => unknown;

/** Whether a field of this name may hold a secret, a message's text or somebody's number. */
function isPrivateKey(key: string): boolean {
  const name = key.toLowerCase().replaceAll(/[-_]/g, "");
  return PRIVATE_KEYS.has(name) || PRIVATE_ENDINGS.test(name);
}

/**
 * A copy without private values, at any depth. pino's own `redact` knows only fixed paths, and a number that is one
 * level deeper than somebody foresaw would be written out. Class instances are named, never walked: an SDK's response
 * or a socket holds the request that was sent.
 */
export function redact(value: unknown, censor: Censor = () => "[redacted]", depth = 0): unknown {
  if (typeof value !== "object" || value === null) return typeof value === "bigint" ? String(value) : value;
  if (value instanceof Error) return describeError(value);
  if (value instanceof Date) return value;
  if (depth >= MAX_DEPTH) return "[deep]";
  if (Array.isArray(value)) {
    const items = value.slice(0, MAX_ITEMS).map((item) => redact(item, censor, depth + 1));
    return value.length > MAX_ITEMS ? [...items, `[${value.length - MAX_ITEMS} more]`] : items;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return `[${value.constructor?.name ?? "object"}]`;
  const copy: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    if (item === null || item === undefined) copy[key] = item;
    else if (isPrivateKey(key)) copy[key] = censor(item, key);
    else if (ERROR_KEYS.has(key)) copy[key] = describeError(item);
    else copy[key] = redact(item, censor, depth + 1);
  }
  return copy;
}

/** Numbers in E.164 and the credentials of a URL, which vendors like to quote in their messages. */
function scrub(text: string): string {
  return text.replaceAll(/\+\d{7,15}\b/g, "[number]").replaceAll(/:\/\/[^@/\s]+@/g, "://[redacted]@");
}

/** What helps to find a fault. Everything else an error carries (axios' `config`, `request`, `response`) stays out. */
const ERROR_FIELDS = [
  "code",
  "status",
  "statusCode",
  "provider",
  "delivery",
  "dependency",
  "retryAfterMs",
  "scope",
  "syscall",
];

/** Under these an error is kept even when it is a plain object, as PostgREST's are. */
const ERROR_KEYS = new Set(["err", "error", "cause"]);

/** An error as the log shows it: type, message, code, stack, cause. */
function describeError(error: unknown, depth = 0): unknown {
  if (typeof error === "string") return scrub(error);
  if (typeof error !== "object" || error === null) return error;
  const { name, message, stack, cause } = error as Partial<Error>;
  const described: Record<string, unknown> = { type: name ?? error.constructor?.name };
  if (typeof message === "string") described.message = scrub(message);
  for (const field of ERROR_FIELDS) {
    const value = (error as unknown as Record<string, unknown>)[field];
    if (typeof value === "string") described[field] = scrub(value);
    else if (typeof value === "number") described[field] = value;
  }
  if (typeof stack === "string") described.stack = scrub(stack);
  if (depth >= 4) return described;
  if (cause !== undefined) described.cause = describeError(cause, depth + 1);
  if (error instanceof AggregateError) {
    described.errors = error.errors.slice(0, 5).map((inner) => describeError(inner, depth + 1));
  }
  return described;
}

export const LOG_LEVELS = ["fatal", "error", "warn", "info", "debug", "trace", "silent"] as const;

/** What can be logged more or less of than of the rest: rooms, and with a queue's name its workers and its providers. */
export const LOG_ROOMS = [
  "alerts",
  "events",
  "hunt",
  "inbound",
  "queues",
  "routes",
  "sms",
  "store",
  "voice",
  "whatsapp",
  "workers",
] as const;
export type RoomLevels = Partial<Record<string, LevelWithSilent>>;

/** The logger of a room, at its own level if it has one: also one that tells more than its parent. */
export function roomLogger(log: Logger, room: string, levels: RoomLevels): Logger {
  const level = levels[room];
  return log.child({ room }, level === undefined ? {} : { level });
}

export interface LoggerOptions {
  level: LevelWithSilent;
  /** Standard output unless given. */
  destination?: DestinationStream;
}

/** A pino logger of one JSON object a line, level as a word, time in ISO 8601, private values taken out. */
export function createLogger({ level, destination }: LoggerOptions): Logger {
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: {
      level: (label: string) => ({ level: label }),
      log: (fields: Record<string, unknown>) => redact(fields) as Record<string, unknown>,
    },
    // pino's own `err` serializer would come after `formatters.log`, on what is a plain object by then.
    serializers: { err: (error: unknown) => error },
  };
  const logger: Logger = destination === undefined ? pino(options) : pino(options, destination);
  // pino runs no formatter over the bindings of children. A child inherits this from its parent.
  // oxlint-disable-next-line typescript/unbound-method -- called below with the logger that it was asked of
  const { child } = logger;
  logger.child = function redactedChild(this: Logger, bindings: Record<string, unknown>, childOptions?: object) {
    return child.call(this, redact(bindings) as Record<string, unknown>, childOptions);
  } as typeof child;
  return logger;
}
