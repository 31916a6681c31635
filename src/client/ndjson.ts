/** Lines that are sent at once, characters. */
const LINES_BYTES = 65_536;

/** Made as it is sent: a list of any length takes no more memory than some of its lines. */
export function streamOf(values: Iterable<unknown> | AsyncIterable<unknown>): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const next = Symbol.asyncIterator in values ? values[Symbol.asyncIterator]() : values[Symbol.iterator]();
  return new ReadableStream({
    async pull(controller) {
      let text = "";
      for (let bytes = 0; bytes < LINES_BYTES; bytes = text.length) {
        const { done, value } = await next.next();
        if (done) {
          if (text !== "") controller.enqueue(encoder.encode(text));
          controller.close();
          return;
        }
        text += `${JSON.stringify(value)}\n`;
      }
      controller.enqueue(encoder.encode(text));
    },
    async cancel() {
      await next.return?.();
    },
  });
}
