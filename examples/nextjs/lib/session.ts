/**
 * Who is logged in, by whatever the app uses for that; this stands in its place.
 *
 * @returns the account, or undefined for a stranger
 */
export async function accountOf(request: Request): Promise<string | undefined> {
  return request.headers.get("x-demo-account") ?? undefined;
}

/** Whether a hunt is that account's: the app's own tables know. */
export async function ownsHunt(accountId: string, huntId: string): Promise<boolean> {
  return huntId.startsWith(`${accountId}:`);
}
