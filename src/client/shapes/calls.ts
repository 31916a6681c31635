export interface CallOptions {
  /** Ends the call, its retries included, with the code `aborted`. What was sent may still be carried out. */
  signal?: AbortSignal | undefined;
}

export interface PostOptions extends CallOptions {
  /**
   * 1 to 255 printable ASCII characters. The same key and body within 24 hours are the same request. Default: a random
   * one for each call, under which its retries are one request. Give your own where your process may repeat the call.
   */
  idempotencyKey?: string | undefined;
}

/** One thing that is wrong with a request. */
export interface Fault {
  /** JSON pointer (RFC 6901) into the body, `/query/<name>`, `/path/<name>` or `/header/<name>`. */
  pointer: string;
  detail: string;
}

/** Part of a file; only the first part has the line of names. */
export interface FilePage {
  text: string;
  /** Give it as `cursor` to go on; null at the end. */
  nextCursor: string | null;
}
