import { z } from "zod";
import type { Clock } from "../../../../core/clock.ts";
import { type ProviderError, TransientError } from "../../../../core/errors.ts";
import { TransportError } from "../../../providers/http-call.ts";
import type { Api } from "./api.ts";
import { NAME, permanent, refusal, silence } from "./errors.ts";

/** https://www.docpartner.dev/api/voice-partner/message-vocal/liste-des-fichiers-audio */
const listSchema = z.object({ datas: z.array(z.object({ name: z.string(), token: z.string().min(1) })) });

type Recording = z.output<typeof listSchema>["datas"][number];

/** For how long the list is believed; and, when a recording is not in it, after what time it is asked for anew. */
const FRESH_MS = 10 * 60_000;
const ASK_AGAIN_MS = 30_000;

/** VoicePartner's token of the recording that an address stands for. Throws `ProviderError`s, always not sent. */
export type TokenOf = (audioUrl: string, signal?: AbortSignal) => Promise<string>;

/**
 * VoicePartner plays only what was uploaded to it and validated there, by a token. Its API takes no uploads, so the
 * recording's name there and the end of the address have to be the same: `https://cdn.example/offre.mp3` is `offre` or
 * `offre.mp3`.
 */
export function createTokenOf({ api, apiKey, clock }: { api: Api; apiKey: string; clock: Clock }): TokenOf {
  let known: { at: number; recordings: Recording[] } | undefined;
  let asking: Promise<Recording[]> | undefined;

  const ask = (signal: AbortSignal | undefined): Promise<Recording[]> => {
    if (signal?.aborted) return Promise.reject(notSent(silence({ kind: "aborted", left: false })));
    asking ??= list(api, apiKey)
      .then((recordings) => {
        known = { at: clock.now(), recordings };
        return recordings;
      })
      .finally(() => (asking = undefined));
    return asking;
  };

  return async (audioUrl, signal) => {
    const name = nameOf(decoded(new URL(audioUrl).pathname.split("/").at(-1) ?? ""));
    const named = (recordings: Recording[]) => recordings.filter((each) => nameOf(each.name) === name);
    const age = known ? clock.now() - known.at : Infinity;
    let found = known && age < FRESH_MS ? named(known.recordings) : [];
    if (found.length === 0 && age > ASK_AGAIN_MS) found = named(await ask(signal));
    const [recording, another] = found;
    if (recording === undefined || name === "") {
      const message =
        "VoicePartner has no recording of that name: upload it at my.voicepartner.fr under the name that ends the audioUrl.";
      throw permanent("voicepartner_unknown_recording", message);
    }
    if (another !== undefined) {
      const message = "VoicePartner has several recordings of the name that ends the audioUrl: rename all but one.";
      throw permanent("voicepartner_ambiguous_recording", message);
    }
    return recording.token;
  };
}

async function list(api: Api, apiKey: string): Promise<Recording[]> {
  try {
    const answer = await api.get(`/audios/${encodeURIComponent(apiKey)}`);
    const parsed = listSchema.safeParse(answer.body);
    if (answer.status < 200 || answer.status > 299 || !parsed.success) throw refusal(answer);
    return parsed.data.datas;
  } catch (error) {
    throw notSent(error instanceof TransportError ? silence(error) : (error as ProviderError));
  }
}

/** Whatever became of the question, nobody was called. */
function notSent(error: ProviderError): ProviderError {
  if (error.delivery === "not_sent") return error;
  const { code } = error;
  const message = `VoicePartner could not be asked for its recordings (${code}); nothing was sent.`;
  return new TransientError(message, { code, provider: NAME, delivery: "not_sent" });
}

/** Without its ending, in whatever way its letters are composed. */
function nameOf(fileName: string): string {
  return fileName
    .trim()
    .normalize("NFC")
    .toLowerCase()
    .replace(/\.(mp3|wav|aiff?|gsm)$/, "");
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
