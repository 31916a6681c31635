/** The attempt that one of our signed addresses is about: vendors cannot read it, but the harness may look. */
export function attemptOf(address: string | undefined): string {
  const token = /\/webhooks\/(?:twilio\/voice|voicepartner)\/([\w-]+)\./.exec(address ?? "")?.[1] ?? "";
  const [, attemptId] = JSON.parse(Buffer.from(token, "base64url").toString("utf8")) as [string, string];
  return attemptId;
}
