import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import { ProblemError } from "../core/problem.ts";
import type { Line } from "../core/route.ts";
import { brokenEncoding, decompressor, RequestAborted, unsupportedEncoding } from "./body.ts";
import { parseJson } from "./json.ts";
import { httpProblem } from "./problems.ts";

/** Longer than any contact; what a caller may make us hold. */
const MAX_LINE_BYTES = 262_144;
/** Of all empty lines together: packed, millions of them are a few kilobytes, and each takes its time to read. */
const MAX_EMPTY_BYTES = 1_048_576;
const NEWLINE = 0x0a;
/** What some programs write before UTF-8. */
const BYTE_ORDER_MARK = Buffer.from("\u{feff}");

/** A body of JSON values, one a line (NDJSON), read as fast as they are taken. */
export interface Lines extends AsyncIterable<Line> {
  /** Of the bytes read so far, decompressed. */
  digest(): string;
}

/**
 * Throws, while it is read, 413 for a line that is too long and for too many empty ones, 415 and 400 as `readBody`, and `RequestAborted`. Whoever stops
 * reading in the middle can still answer.
 */
export function readLines(request: IncomingMessage): Lines {
  const inflate = decompressor(request.headers["content-encoding"]);
  if (inflate === undefined) throw unsupportedEncoding();
  const hash = createHash("sha256");

  async function* lines(): AsyncGenerator<Line> {
    let rest: Buffer = Buffer.alloc(0);
    let no = 0;
    let emptyBytes = 0;
    const lineOf = (whole: Buffer): Line[] => {
      no += 1;
      if (whole.length > MAX_LINE_BYTES) throw tooLong(no);
      const marked = no === 1 && whole.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK);
      const bytes = marked ? whole.subarray(BYTE_ORDER_MARK.length) : whole;
      if (bytes.some((byte) => byte > 0x20)) return [{ no, ...valueOf(bytes) }];
      emptyBytes += whole.length + 1;
      if (emptyBytes > MAX_EMPTY_BYTES) throw tooEmpty(no);
      return [];
    };
    for await (const chunk of bytesOf(request, inflate)) {
      hash.update(chunk);
      let start = 0;
      for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
        yield* lineOf(Buffer.concat([rest, chunk.subarray(start, end)]));
        rest = Buffer.alloc(0);
        start = end + 1;
      }
      rest = Buffer.concat([rest, chunk.subarray(start)]);
      if (rest.length > MAX_LINE_BYTES) throw tooLong(no + 1);
    }
    if (rest.length > 0) yield* lineOf(rest);
  }

  return { [Symbol.asyncIterator]: lines, digest: () => hash.copy().digest("hex") };
}

const tooLong = (no: number): ProblemError =>
  httpProblem("body_too_large", `Line ${no} is longer than the limit of ${MAX_LINE_BYTES} bytes.`);

const tooEmpty = (no: number): ProblemError =>
  httpProblem(
    "body_too_large",
    `The empty lines down to line ${no} are longer than the limit of ${MAX_EMPTY_BYTES} bytes. Send the contacts without them.`,
  );

async function* bytesOf(request: IncomingMessage, inflate: ReturnType<typeof decompressor>): AsyncGenerator<Buffer> {
  // Of a connection that breaks off, what decompresses its bytes would never hear.
  const onClose = (): void => void (request.complete || inflate?.destroy(new RequestAborted(BROKEN_OFF)));
  request.on("close", onClose).on("error", onClose);
  try {
    const source: Readable = inflate ? request.pipe(inflate) : request;
    // Not destroyed: with the request its connection would go, and the answer with it.
    yield* source.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
    if (!request.complete) throw new RequestAborted(BROKEN_OFF);
  } catch (error) {
    if (error instanceof RequestAborted || (!request.complete && request.destroyed))
      throw new RequestAborted(BROKEN_OFF);
    throw inflate && !(error instanceof ProblemError) ? brokenEncoding() : error;
  } finally {
    request.off("close", onClose).off("error", onClose);
    // Whoever still sends is let to its end, or would never read the answer.
    if (!request.complete) request.resume();
    if (inflate) {
      request.unpipe(inflate);
      inflate.on("error", () => undefined).destroy();
    }
  }
}

const BROKEN_OFF = "the connection closed within the body";

function valueOf(bytes: Buffer): { value: unknown } | { fault: string } {
  try {
    return { value: parseJson(bytes) };
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    const [fault] = error.errors ?? [];
    if (fault === undefined) return { fault: `is not JSON: ${error.message}` };
    return { fault: fault.pointer === "" ? fault.detail : "has a key that is never accepted" };
  }
}
