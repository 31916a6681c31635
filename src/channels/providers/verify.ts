import { HttpCaller, type HttpAnswer } from "./http-call.ts";

/** For one question of `doctor`, milliseconds. */
const TIMEOUT_MS = 10_000;
/** A key that is not there or not right; 403: not for this. */
const REFUSED = new Set([401, 403]);

/**
 * Asks a vendor something harmless with basic authentication; answers what is wrong, in words, or what `judge` says of its
 * answer. Rejects with `TransportError`.
 */
export async function verifyByAsking(
  { url, user, password }: { url: string; user: string; password: string },
  judge: (body: unknown) => string | undefined = () => undefined,
): Promise<string | undefined> {
  const caller = new HttpCaller({ baseUrl: url, timeoutMs: TIMEOUT_MS });
  const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
  try {
    const request = { url: new URL(url), method: "GET", headers: { authorization, accept: "application/json" } };
    const answer = await caller.call({ ...request, body: undefined }, undefined);
    if (REFUSED.has(answer.status)) return "refuses the credentials";
    if (answer.status < 200 || answer.status > 299) return `answers with status ${answer.status}`;
    return judge(parsed(answer));
  } finally {
    caller.close();
  }
}

function parsed({ body }: HttpAnswer): unknown {
  try {
    return JSON.parse(body) as unknown;
  } catch {
    return undefined;
  }
}
