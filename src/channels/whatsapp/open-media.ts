import { Readable } from "node:stream";
import type { FetchPolicy } from "../../core/addresses.ts";
import { PermanentError, ProviderError, TransientError } from "../../core/errors.ts";
import { guardedFetch } from "../../core/guarded-fetch.ts";
import { GuardedFetchError, type FetchTimeouts } from "../../core/guarded-request.ts";
import type { MediaStore } from "../../store/sessions.ts";
import { HEAD_BYTES, MAX_MEDIA_BYTES, mayBe, typeOfBytes, typesOf, type MediaKind } from "../media.ts";
import { downloadError } from "../providers/download-errors.ts";
import type { MediaSource } from "./content.ts";
import { createRecentUploads } from "./recent-uploads.ts";

export interface OpenedMedia {
  /** Fails with a `ProviderError`. Read it to its end or destroy it: until then a connection may be open. */
  stream: Readable;
  /** By its bytes, whatever the server calls it. */
  contentType: string;
  /** As it was uploaded. */
  fileName: string | undefined;
}

export interface MediaReader {
  /** Whose uploads may be opened. */
  accountId: string | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Opens a file that is to be sent. Throws `PermanentError` (`media_not_allowed`, `media_refused`, `media_gone`,
 * `media_wrong_type`, `media_too_big`) and `TransientError` (`media_unreachable`, `media_timeout`, `media_aborted`), always
 * not sent: it is read before the message goes out. Its stream fails with the same.
 */
export type OpenMedia = (source: MediaSource, kind: MediaKind, reader: MediaReader) => Promise<OpenedMedia>;

export interface OpenMediaOptions {
  /** In whose name errors are thrown. */
  provider: string;
  uploads: Pick<MediaStore, "media">;
  /** Of one file. Default: 16 MiB. */
  maxBytes?: number | undefined;
  policy?: FetchPolicy | undefined;
  timeouts?: FetchTimeouts | undefined;
}

/** Uploads are kept in memory for a while, as a hunt sends the same one again and again. */
export function createOpenMedia(options: OpenMediaOptions): OpenMedia {
  const { provider, maxBytes = MAX_MEDIA_BYTES, policy, timeouts } = options;
  const upload = createRecentUploads(options.uploads);

  async function fetched(url: string, kind: MediaKind, signal: AbortSignal | undefined): Promise<OpenedMedia> {
    const accept = (declared: string): boolean => mayBe(kind, declared);
    const { body, contentType: declared } = await guardedFetch(url, { maxBytes, accept, policy, timeouts, signal });
    try {
      const head = await headOf(body);
      const contentType = typeOfBytes(head, declared, typesOf(kind));
      if (contentType === undefined) throw wrongType(kind, provider);
      // What came whole with its first bytes has ended, and takes nothing back.
      if (body.readableEnded) return { stream: Readable.from([head]), contentType, fileName: undefined };
      body.unshift(head);
      return { stream: translated(body, { provider, signal }), contentType, fileName: undefined };
    } catch (error) {
      body.destroy();
      throw error;
    }
  }

  async function uploaded(id: string, kind: MediaKind, accountId: string | undefined): Promise<OpenedMedia> {
    const media = accountId === undefined ? undefined : await upload(id, accountId);
    if (!media) throw permanent("media_gone", "The upload is not there: it is another account's, or has expired.");
    const { data, contentType, fileName } = media;
    if (data.length > maxBytes) throw permanent("media_too_big", `The upload has more than ${maxBytes} bytes.`);
    if (!typesOf(kind).includes(contentType)) throw wrongType(kind, provider);
    return { stream: Readable.from([data]), contentType, fileName };
  }

  const permanent = (code: string, message: string) => new PermanentError(message, { code, provider });

  return async (source, kind, { accountId, signal }) => {
    try {
      return await ("url" in source ? fetched(source.url, kind, signal) : uploaded(source.mediaId, kind, accountId));
    } catch (error) {
      throw mediaError(error, { provider, signal });
    }
  };
}

/** Takes the first bytes out of a stream, `HEAD_BYTES` or more unless there are fewer. */
async function headOf(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk as Buffer);
    bytes += (chunk as Buffer).length;
    if (bytes >= HEAD_BYTES) break;
  }
  return Buffer.concat(chunks);
}

/** The same bytes; what goes wrong with them becomes one of our errors. */
function translated(body: Readable, attempt: Attempt): Readable {
  const stream = Readable.from(
    (async function* () {
      try {
        yield* body;
      } catch (error) {
        throw mediaError(error, attempt);
      }
    })(),
    { objectMode: false },
  );
  // Whoever gives up before the first byte never enters the generator.
  stream.once("close", () => body.destroy());
  return stream;
}

const KINDS = { image: "a picture", video: "a video", audio: "a recording", document: "a document" };

function wrongType(kind: MediaKind, provider: string): PermanentError {
  const message = `The file is not ${KINDS[kind]} of a type that is sent: ${typesOf(kind).join(", ")}.`;
  return new PermanentError(message, { code: "media_wrong_type", provider });
}

interface Attempt {
  provider: string;
  signal: AbortSignal | undefined;
}

function mediaError(error: unknown, { provider, signal }: Attempt): ProviderError {
  if (error instanceof ProviderError) return error;
  if (error instanceof GuardedFetchError) return downloadError(error, { kind: "media", provider });
  const code = signal?.aborted ? "media_aborted" : "media_unreachable";
  const message = signal?.aborted ? "The attempt was ended before the file was read." : "The file could not be read.";
  return new TransientError(message, { code, provider, cause: error, delivery: "not_sent" });
}
