import {
  PermanentError,
  type ProviderError,
  RateLimitedError,
  TransientError,
  assertNever,
} from "../../core/errors.ts";

/**
 * What an error code of a vendor's means to us.
 *
 * - `permanent`: this recipient cannot be reached by SMS;
 * - `suppress`: the recipient wrote STOP to this sender, and is not contacted again;
 * - `content`: the text was refused; the same text would be again;
 * - `configuration`: our account or sender; contacts are kept until somebody has put it right;
 * - `busy`: refused for now and certainly not sent;
 * - `failed_later`: accepted, then failed (mostly seen in receipts); another bounded attempt is allowed;
 * - `ambiguous`: it may have been sent.
 */
export type VendorCode =
  | { kind: "permanent" | "suppress" | "content" | "failed_later" | "ambiguous"; words: string }
  /** `scope: "message"` where another recipient may work: one contact must not hold up the sender for all others. */
  | { kind: "configuration"; words: string; scope: "message" | "sender" }
  | { kind: "busy"; words: string; scope: "message" | "sender" | "provider"; retryAfterMs: number };

/** A vendor and what its codes mean. */
export interface Vendor {
  name: string;
  /** In codes, `twilio_21610`; default: its name. */
  prefix?: string;
  /** For people: `Twilio`. */
  title: string;
  codes: Readonly<Record<number, VendorCode>>;
  /** Where a code is explained. */
  page(code: number): string;
}

/** Long enough for a person to notice and mend it; the contacts wait. */
const CONFIGURATION_RETRY_MS = 5 * 60_000;
const DEFAULT_RETRY_MS = 2_000;

/** How a call of a vendor went wrong. */
export type Failure =
  /** It refused, with its own code if it gave one. */
  | { kind: "answer"; status: number; code: number | undefined; retryAfterMs: number | undefined }
  /** An answer came, but not one that says what became of the message. */
  | { kind: "unreadable" }
  /** No answer. `left`: the request may have reached the vendor. */
  | { kind: "timeout" | "aborted" | "network"; left: boolean };

/** Any failure as an error of our taxonomy. `cause` must already be free of numbers and texts (see `redacted`). */
export function vendorError(vendor: Vendor, failure: Failure, cause: unknown): ProviderError {
  switch (failure.kind) {
    case "answer":
      return refusal(vendor, failure, cause);
    case "unreadable":
      return ambiguous(
        vendor,
        `${prefixOf(vendor)}_unreadable_answer`,
        `${vendor.title}'s answer could not be read; the message may have been sent.`,
        cause,
      );
    case "timeout":
    case "aborted":
    case "network":
      return silence(vendor, failure, cause);
    default:
      return assertNever(failure);
  }
}

const prefixOf = ({ name, prefix = name }: Vendor): string => prefix;

function silence(vendor: Vendor, { kind, left }: Extract<Failure, { left: boolean }>, cause: unknown): ProviderError {
  const { name, title } = vendor;
  const prefix = prefixOf(vendor);
  const what = {
    timeout: "did not answer in time",
    aborted: "had not answered when the attempt was aborted",
    network: "could not be reached",
  }[kind];
  if (left) {
    const code = kind === "network" ? `${prefix}_connection_lost` : `${prefix}_${kind}`;
    return ambiguous(
      vendor,
      code,
      `${title} ${kind === "network" ? "closed the connection without an answer" : what}; the message may have been sent.`,
      cause,
    );
  }
  const code = kind === "network" ? `${prefix}_unreachable` : `${prefix}_${kind}`;
  const message = `${title} ${what}; no connection was made, so nothing was sent.`;
  return new TransientError(message, { code, provider: name, cause, delivery: "not_sent" });
}

/** 429 and 503 with Retry-After were not processed; any other 5xx may have been. */
function refusal(vendor: Vendor, answer: Extract<Failure, { kind: "answer" }>, cause: unknown): ProviderError {
  const { status, retryAfterMs } = answer;
  const known = answer.code === undefined ? undefined : vendor.codes[answer.code];
  const code = `${prefixOf(vendor)}_${answer.code ?? `http_${status}`}`;
  const fields = { code, provider: vendor.name, cause };
  const where = answer.code === undefined ? `HTTP ${status}` : vendor.page(answer.code);
  const message = `${known?.words ?? defaultWords(vendor.title, status)} (${where})`;

  if (known?.kind === "busy") {
    return new RateLimitedError(message, {
      ...fields,
      scope: known.scope,
      retryAfterMs: retryAfterMs ?? known.retryAfterMs,
    });
  }
  if (status === 429 || (status === 503 && retryAfterMs !== undefined)) {
    return new RateLimitedError(message, {
      ...fields,
      scope: "provider",
      retryAfterMs: retryAfterMs ?? DEFAULT_RETRY_MS,
    });
  }
  if (status >= 500 || status === 408 || status < 400) return ambiguous(vendor, code, message, cause);
  switch (known?.kind) {
    case "permanent":
    case "content":
      return new PermanentError(message, fields);
    case "suppress":
      return new PermanentError(message, { ...fields, suppress: true });
    case "configuration":
      return new RateLimitedError(message, { ...fields, scope: known.scope, retryAfterMs: CONFIGURATION_RETRY_MS });
    case "failed_later":
      return new TransientError(message, { ...fields, delivery: "not_sent" });
    case "ambiguous":
      return ambiguous(vendor, code, message, cause);
    case undefined:
      // The path names nothing but our own account, so 404 is a wrong one, or a wrong base URL.
      if (status === 401 || status === 402 || status === 403 || status === 404) {
        return new RateLimitedError(message, { ...fields, scope: "sender", retryAfterMs: CONFIGURATION_RETRY_MS });
      }
      return new PermanentError(message, fields);
    default:
      return assertNever(known);
  }
}

function defaultWords(title: string, status: number): string {
  if (status === 401 || status === 403 || status === 404)
    return `${title} refuses the credentials or does not know the account.`;
  if (status === 402) return `The account at ${title} has no credit.`;
  if (status === 429) return `${title} is limiting requests.`;
  if (status === 503) return `${title} is not available.`;
  return status >= 400 && status < 500
    ? `${title} refused the message.`
    : `${title} failed; the message may have been sent.`;
}

function ambiguous({ name }: Vendor, code: string, message: string, cause: unknown): TransientError {
  return new TransientError(message, { code, provider: name, cause, delivery: "unknown" });
}

/**
 * The vendor's error without what it quotes: "The 'To' number +33612345678 is not valid" would otherwise reach the
 * logs, where pino prints causes too.
 */
export function redacted(error: unknown, personal: readonly string[]): Error {
  let text = error instanceof Error ? error.message : String(error);
  for (const value of personal) if (value !== "") text = text.replaceAll(value, "[removed]");
  const clean = new Error(text.replace(/\+?\d[\d ()-]{5,}\d/g, "[number removed]").slice(0, 500));
  clean.name = error instanceof Error ? error.name : "Error";
  delete clean.stack;
  return clean;
}

/** `Retry-After`: seconds or an HTTP date (RFC 9110, 10.2.3), kept within an hour. Undefined when absent or unreadable. */
export function retryAfterOf(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined;
  const ms = /^\d+$/.test(header.trim()) ? Number(header) * 1_000 : Date.parse(header) - now;
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), 3_600_000);
}
