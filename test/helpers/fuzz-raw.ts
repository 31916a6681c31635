import { once } from "node:events";
import { request, type Agent } from "node:http";
import { connect } from "node:net";

export interface RawRequest {
  method: string;
  /** As it goes over the wire: `fetch` would tidy up `..` and `//`. */
  target: string;
  headers?: Record<string, string>;
  body?: Buffer | undefined;
}

export interface RawAnswer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
}

/** Sends a request as it is. */
export function rawRequest(url: string, raw: RawRequest, agent?: Agent): Promise<RawAnswer> {
  const { hostname, port } = new URL(url);
  const { method, target, headers = {}, body } = raw;
  const length = body === undefined ? {} : { "content-length": body.length };
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { hostname, port, method, path: target, headers: { ...headers, ...length }, ...(agent && { agent }) },
      (incoming) => {
        const chunks: Buffer[] = [];
        incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
        incoming.on("error", reject);
        const answered = (): void => {
          const text = Buffer.concat(chunks).toString("utf8");
          resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, text });
        };
        incoming.on("end", answered);
        // It has no end of its own: how it begins is its answer.
        if (incoming.headers["content-type"] !== "text/event-stream") return;
        incoming.once("data", () => {
          answered();
          outgoing.destroy();
        });
      },
    );
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

/** Writes bytes to the socket; answers what comes back until the service closes the connection. */
export async function exchange(url: string, bytes: string | Buffer): Promise<string> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  await once(socket, "connect");
  let answer = "";
  socket.on("data", (chunk) => (answer += chunk.toString("latin1")));
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()).once("error", () => resolve()));
  // Half-closed: whatever is still answered comes now, then the service closes.
  socket.end(bytes);
  await closed;
  return answer;
}
