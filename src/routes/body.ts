import type { IncomingMessage } from "node:http";
import { createBrotliDecompress, createGunzip, createInflate } from "node:zlib";
import type { Readable, Transform } from "node:stream";
import { httpProblem } from "./problems.ts";

/** The caller went away before the request was complete: nobody is left to answer. */
export class RequestAborted extends Error {
  override readonly name = "RequestAborted";
}

export function hasBody(request: IncomingMessage): boolean {
  const length = request.headers["content-length"];
  return request.headers["transfer-encoding"] !== undefined || (length !== undefined && length !== "0");
}

/**
 * The whole body, decompressed. Throws 413 once more than `maxBytes` have come out of it, or at once when
 * Content-Length says so; 415 for an encoding other than gzip, deflate, br; 400 when the compressed data is broken;
 * `RequestAborted`. body-parser is not used because it reads an oversized body to its end before it answers, and hands
 * out no raw bytes to digest.
 */
export function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (Number(request.headers["content-length"] ?? 0) > maxBytes) return reject(tooLarge(maxBytes));
    const inflate = decompressor(request.headers["content-encoding"]);
    if (inflate === undefined) return reject(unsupportedEncoding());
    const source: Readable = inflate === null ? request : request.pipe(inflate);

    const chunks: Buffer[] = [];
    let bytes = 0;
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length;
      if (bytes > maxBytes) settle(() => reject(tooLarge(maxBytes)));
      else chunks.push(chunk);
    };
    const onEnd = (): void => settle(() => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)));
    const onBroken = (): void => settle(() => reject(brokenEncoding()));
    const onClose = (): void => {
      // Also comes after the last byte of a body that is still being decompressed.
      if (!request.complete) settle(() => reject(new RequestAborted("the connection closed within the body")));
    };
    function settle(finish: () => void): void {
      source.off("data", onData).off("end", onEnd);
      request.off("close", onClose);
      request.off("error", onClose);
      if (inflate) {
        request.unpipe(inflate);
        inflate.off("error", onBroken).on("error", () => undefined);
        inflate.destroy();
      }
      finish();
    }
    source.on("data", onData).on("end", onEnd);
    inflate?.on("error", onBroken);
    request.on("close", onClose).on("error", onClose);
  });
}

/** `null` for plain bytes, `undefined` for an encoding that is not known. */
export function decompressor(encoding: string | undefined): Transform | null | undefined {
  switch (encoding?.trim().toLowerCase()) {
    case undefined:
    case "":
    case "identity":
      return null;
    case "gzip":
    case "x-gzip":
      return createGunzip();
    case "deflate":
      return createInflate();
    case "br":
      return createBrotliDecompress();
    default:
      return undefined;
  }
}

function tooLarge(maxBytes: number): Error {
  return httpProblem(
    "body_too_large",
    `The body is larger than the limit of ${maxBytes} bytes (${mebibytes(maxBytes)}).`,
  );
}

function mebibytes(bytes: number): string {
  return bytes < 1024 * 1024 ? `${Math.round(bytes / 102.4) / 10} KiB` : `${Math.round(bytes / 104_857.6) / 10} MiB`;
}

export function unsupportedEncoding(): Error {
  return httpProblem(
    "unsupported_media_type",
    "This Content-Encoding is not supported: use gzip, deflate, br or none.",
    {
      headers: { "Accept-Encoding": "gzip, deflate, br" },
    },
  );
}

export function brokenEncoding(): Error {
  return httpProblem("malformed_request", "The body cannot be decompressed as its Content-Encoding says.");
}
