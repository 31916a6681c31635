/** The browser sends it by itself: an `EventSource` can send no header. */
const COOKIE = "session";

/**
 * Who is logged in, by whatever the app uses for that; this stands in its place. A real session is signed, and its cookie
 * `HttpOnly`, `Secure` and `SameSite=Lax`.
 *
 * @returns the account, or undefined for a stranger
 */
export async function accountOf(request: Request): Promise<string | undefined> {
  const pairs = (request.headers.get("cookie") ?? "").split(/; */).map((pair) => pair.split("="));
  return pairs.find(([name]) => name === COOKIE)?.[1] || undefined;
}

/** Whether a hunt is that account's: the app's own tables know. */
export async function ownsHunt(accountId: string, huntId: string): Promise<boolean> {
  return huntId.startsWith(`${accountId}:`);
}
