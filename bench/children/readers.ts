import { Agent, request } from "node:http";
import { serveTask } from "../child.ts";

/** Readers of live events, each over a connection of its own. */
export interface ReadersTask {
  url: string;
  headers: Record<string, string>;
  readers: number;
  /** Events that each is to get, whose data has `sentAt`, milliseconds since the epoch. */
  events: number;
}

export interface ReadersResult {
  /** Events that all readers got together. */
  received: number;
  /** From the event to each reader, milliseconds. */
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

const CONNECTING = 50;

await serveTask<ReadersTask>(async ({ url, headers, readers, events }) => {
  const agent = new Agent({ keepAlive: true, maxSockets: Infinity });
  const lags: number[] = [];
  const { promise: complete, resolve } = Promise.withResolvers<void>();
  const connect = (): Promise<void> =>
    new Promise((connected, reject) => {
      const outgoing = request(url, { agent, headers });
      outgoing.once("error", reject);
      outgoing.once("response", (response) => {
        response.setEncoding("utf8");
        let rest = "";
        response.on("data", (chunk: string) => {
          // Once it has its place: the answer's head comes before that.
          connected();
          const now = Date.now();
          const parts = (rest + chunk).split("\n\n");
          rest = parts.pop() ?? "";
          for (const part of parts) {
            const sentAt = /"sentAt":(\d+)/.exec(part)?.[1];
            if (sentAt !== undefined) lags.push(now - Number(sentAt));
          }
          if (lags.length === readers * events) resolve();
        });
        response.once("error", reject);
      });
      outgoing.end();
    });
  for (let i = 0; i < readers; i += CONNECTING) {
    await Promise.all(Array.from({ length: Math.min(CONNECTING, readers - i) }, connect));
  }

  return async (): Promise<ReadersResult> => {
    await complete;
    agent.destroy();
    lags.sort((a, b) => a - b);
    const at = (quantile: number): number => lags[Math.floor((lags.length - 1) * quantile)] ?? Number.NaN;
    return { received: lags.length, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
  };
});
