import { assertNever, PermanentError, type ProviderError, TransientError } from "../../core/errors.ts";
import type { GuardedFetchError } from "../../core/guarded-request.ts";

export interface Download {
  /** What the codes begin with: `audio_gone`, `media_gone`. */
  kind: "audio" | "media";
  /** In whose name errors are thrown. */
  provider: string;
  /** In place of the cause's words. Those are made to be shown: they name no more than the host that the caller gave. */
  message?: string;
}

/** What it means for a message that its file cannot be had. Nothing was sent: it is read before. */
export function downloadError(cause: GuardedFetchError, download: Download): ProviderError {
  const { kind, provider, message = cause.message } = download;
  const permanent = (code: string) => new PermanentError(message, { code: `${kind}_${code}`, provider, cause });
  const transient = (code: string) =>
    new TransientError(message, { code: `${kind}_${code}`, provider, cause, delivery: "not_sent" });
  switch (cause.code) {
    case "bad_url":
    case "not_allowed":
      return permanent("not_allowed");
    case "too_many_redirects":
      return permanent("refused");
    case "http_status":
      if (cause.transient) return transient("unreachable");
      return permanent(cause.status === 404 || cause.status === 410 ? "gone" : "refused");
    case "wrong_type":
      return permanent("wrong_type");
    case "too_big":
      return permanent("too_big");
    case "unreachable":
      return transient("unreachable");
    case "timeout":
      return transient("timeout");
    default:
      return assertNever(cause.code);
  }
}
