import type { FetchPolicy } from "../../core/addresses.ts";
import type { Clock } from "../../core/clock.ts";
import { PermanentError, ProviderError, TransientError } from "../../core/errors.ts";
import { guardedFetch } from "../../core/guarded-fetch.ts";
import { GuardedFetchError, type FetchTimeouts } from "../../core/guarded-request.ts";
import { HEAD_BYTES, MAX_MEDIA_BYTES } from "../media.ts";
import { downloadError } from "../providers/download-errors.ts";

/**
 * Looks whether an address holds a recording that can be played. Throws `PermanentError` (`audio_not_allowed`,
 * `audio_wrong_type`, `audio_too_big`, `audio_gone`, `audio_refused`) and `TransientError` (`audio_unreachable`,
 * `audio_timeout`, `audio_aborted`), always not sent: it is asked before anybody is called.
 */
export type CheckRecording = (url: string, signal?: AbortSignal) => Promise<void>;

export interface RecordingOptions {
  /** In whose name errors are thrown. */
  provider: string;
  clock: Clock;
  policy?: FetchPolicy | undefined;
  timeouts?: FetchTimeouts | undefined;
}

/** The longest that a check takes, milliseconds. */
export const RECORDING_CHECK_MS = 10_000;
const TIMEOUTS: FetchTimeouts = { connectMs: 5_000, idleMs: 5_000, totalMs: RECORDING_CHECK_MS };

/** A hunt plays one recording to thousands: it is fetched once, and again when somebody may have changed it. */
const REMEMBERED_MS = 3_600_000;
const REMEMBERED_URLS = 1_000;

/** What a phone network can play, as Twilio lists it for `<Play>`: https://www.twilio.com/docs/voice/twiml/play */
const RECORDING_TYPES = new Set([
  "audio/mpeg",
  "audio/mp3",
  "audio/wav",
  "audio/wave",
  "audio/x-wav",
  "audio/aiff",
  "audio/x-aiff",
  "audio/x-aifc",
  "audio/gsm",
  "audio/x-gsm",
  "audio/ulaw",
]);

interface Known {
  until: number;
  error: ProviderError | undefined;
}

/** What is certain is remembered for an hour: that an address is good, or that it never will be. */
export function createRecordingCheck(options: RecordingOptions): CheckRecording {
  const { clock, provider } = options;
  const known = new Map<string, Known>();
  const pending = new Map<string, Promise<void>>();

  const remember = (url: string, error: ProviderError | undefined): void => {
    known.delete(url);
    known.set(url, { until: clock.now() + REMEMBERED_MS, error });
    const oldest = known.keys().next();
    if (known.size > REMEMBERED_URLS && !oldest.done) known.delete(oldest.value);
  };
  const fetched = async (url: string): Promise<void> => {
    try {
      await lookAt(url, options);
      remember(url, undefined);
    } catch (error) {
      if (error instanceof PermanentError) remember(url, error);
      throw error;
    }
  };

  return async (url, signal) => {
    if (signal?.aborted) throw aborted(provider);
    const entry = known.get(url);
    if (entry && entry.until > clock.now()) {
      if (entry.error) throw entry.error;
      return;
    }
    const looking = pending.get(url) ?? fetched(url).finally(() => pending.delete(url));
    pending.set(url, looking);
    // Those who wait for the same download must not lose it with the first who gives up.
    await (signal ? Promise.race([looking, whenAborted(signal, provider)]) : looking);
  };
}

async function lookAt(url: string, { provider, policy, timeouts = TIMEOUTS }: RecordingOptions): Promise<void> {
  const accept = (declared: string): boolean => RECORDING_TYPES.has(declared);
  try {
    const { body, contentType } = await guardedFetch(url, { maxBytes: MAX_MEDIA_BYTES, accept, policy, timeouts });
    try {
      const chunks: Buffer[] = [];
      let bytes = 0;
      for await (const chunk of body) {
        chunks.push(chunk as Buffer);
        bytes += (chunk as Buffer).length;
        if (bytes >= HEAD_BYTES) break;
      }
      if (!beginsLike(Buffer.concat(chunks), contentType)) throw wrongType(provider);
    } finally {
      body.destroy();
    }
  } catch (error) {
    throw recordingError(error, provider);
  }
}

/** Servers give pages and empty files the type that the address asks for: the first bytes say what it is. */
function beginsLike(head: Buffer, contentType: string): boolean {
  const at = (offset: number, mark: string): boolean =>
    head.subarray(offset, offset + mark.length).equals(Buffer.from(mark, "latin1"));
  if (head.length === 0) return false;
  if (contentType === "audio/mpeg" || contentType === "audio/mp3") {
    return at(0, "ID3") || (head[0] === 0xff && ((head[1] ?? 0) & 0xe0) === 0xe0);
  }
  if (contentType.endsWith("wav") || contentType === "audio/wave") return at(0, "RIFF") && at(8, "WAVE");
  if (contentType.includes("aif")) return at(0, "FORM") && at(8, "AIF");
  // Neither GSM nor u-law has a mark of its own.
  return !/^\s*<[a-z!?]/i.test(head.toString("latin1"));
}

function recordingError(error: unknown, provider: string): ProviderError {
  if (error instanceof ProviderError) return error;
  if (error instanceof GuardedFetchError) {
    if (error.code === "wrong_type") return wrongType(provider, error);
    const message = `The recording at audioUrl cannot be had: ${error.message}`;
    return downloadError(error, { kind: "audio", provider, message });
  }
  return new TransientError("The recording could not be read.", {
    code: "audio_unreachable",
    provider,
    cause: error,
    delivery: "not_sent",
  });
}

function wrongType(provider: string, cause?: GuardedFetchError): PermanentError {
  const found = cause ? cause.message : "The server sends something else under the type of a recording.";
  const message = `The audioUrl does not lead to a recording that can be played: ${found} Give an MP3 or WAV file, served as audio/mpeg or audio/wav.`;
  return new PermanentError(message, { code: "audio_wrong_type", provider, cause });
}

function aborted(provider: string): TransientError {
  const message = "The attempt was aborted before anything was sent.";
  return new TransientError(message, { code: "audio_aborted", provider, delivery: "not_sent" });
}

function whenAborted(signal: AbortSignal, provider: string): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(aborted(provider));
    else signal.addEventListener("abort", () => reject(aborted(provider)), { once: true });
  });
}
