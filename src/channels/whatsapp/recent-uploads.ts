import type { MediaStore, UploadedMedia } from "../../store/sessions.ts";

/** Of all together: a few big ones, or very many small ones. */
const MAX_BYTES = 64 * 1024 * 1024;

/**
 * Looks uploads up, and remembers the last ones: a hunt of 5000 sends one file 5000 times, and the database would have to
 * give it out in base64 each time. An upload never changes; one that was remembered may outlive its expiry by as long as
 * it is in use.
 */
export function createRecentUploads(uploads: Pick<MediaStore, "media">, maxBytes = MAX_BYTES): MediaStore["media"] {
  /** In the order of their last use. */
  const recent = new Map<string, UploadedMedia>();
  const pending = new Map<string, Promise<UploadedMedia | undefined>>();
  let bytes = 0;

  const forget = (key: string): void => {
    bytes -= recent.get(key)?.data.length ?? 0;
    recent.delete(key);
  };
  const remember = (key: string, media: UploadedMedia): void => {
    forget(key);
    recent.set(key, media);
    bytes += media.data.length;
    for (const oldest of recent.keys()) {
      if (bytes <= maxBytes) break;
      forget(oldest);
    }
  };

  return async (id, accountId) => {
    const key = `${id} ${accountId}`;
    const known = recent.get(key);
    if (known) {
      remember(key, known);
      return known;
    }
    const asked = pending.get(key) ?? uploads.media(id, accountId).finally(() => pending.delete(key));
    pending.set(key, asked);
    const media = await asked;
    if (media) remember(key, media);
    return media;
  };
}
