import { failed, type ClientError, type Result } from "./result.ts";

/** Statuses that may pass by themselves; 500 as well, since nothing is done twice. */
const PASSING = new Set([408, 425, 429, 500, 502, 503, 504]);
/** 503, but it wants the operator. */
const STAYING = new Set(["channel_off", "erasure_off"]);

/** An answer that came whole: a value, a problem, or something that the service would not say. */
export function read<T>(
  response: Response,
  text: string,
  { key, alsoGood }: { key: string | undefined; alsoGood: number | undefined },
): Result<T> {
  const { status, headers } = response;
  const type = headers.get("content-type") ?? "";
  const body = type.includes("json") ? parsed(text) : undefined;
  const isProblem = type.includes("problem+json");
  const about = { status, requestId: headers.get("x-request-id") ?? undefined, idempotencyKey: key };
  if (body !== undefined && !isProblem && (response.ok || status === alsoGood)) return { ok: true, value: body as T };
  if (response.ok) {
    const detail = `The answer is not JSON but "${type}": is this the service's address?`;
    return failed({ ...about, code: "invalid_answer", detail, retryable: false });
  }
  const { code, detail, errors, requestId } = (isProblem ? (body ?? {}) : {}) as Partial<ClientError>;
  return failed({
    ...about,
    code: code ?? "http_error",
    detail: detail ?? `Something before the service answered ${status}${redirectOf(headers)}.`,
    errors,
    requestId: requestId ?? about.requestId,
    retryable: PASSING.has(status) && !STAYING.has(code ?? ""),
    retryAfterMs: retryAfterMs(headers.get("retry-after")),
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) ?? undefined;
  } catch {
    return undefined;
  }
}

function redirectOf(headers: Headers): string {
  const location = headers.get("location");
  return location === null ? "" : `, a redirect to ${location}: set baseUrl to where the service is`;
}

/** `Retry-After` is a number of seconds or a date (RFC 9110, 10.2.3). */
function retryAfterMs(value: string | null): number | undefined {
  if (value === null) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}
