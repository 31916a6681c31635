import { Agent, request } from "node:http";
import { serveTask } from "../child.ts";

/** Requests as fast as they are answered, over a fixed number of connections that stay open. */
export interface LoadTask {
  url: string;
  headers: Record<string, string>;
  /** Each `{{i}}` becomes a number of six digits, another for each request. */
  body: string;
  /** The first such number. */
  from: number;
  connections: number;
  warmUpMs: number;
  measureMs: number;
}

export interface LoadResult {
  perSecond: number;
  p50Ms: number;
  p99Ms: number;
  requests: number;
  /** With those of the warm-up. */
  allRequests: number;
  /** Answers other than 202. */
  refused: number;
}

await serveTask<LoadTask>(async ({ url, headers, body, from, connections, warmUpMs, measureMs }) => {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  let next = from;

  const post = (): Promise<number> => {
    const text = body.replaceAll("{{i}}", String(next++).padStart(6, "0"));
    const length = String(Buffer.byteLength(text));
    return new Promise((resolve, reject) => {
      const outgoing = request(url, { method: "POST", agent, headers: { ...headers, "content-length": length } });
      outgoing.once("error", reject);
      outgoing.once("response", (response) => {
        response.resume();
        response.once("end", () => resolve(response.statusCode ?? 0));
      });
      outgoing.end(text);
    });
  };

  return async (): Promise<LoadResult> => {
    const begins = performance.now() + warmUpMs;
    const ends = begins + measureMs;
    const times: number[] = [];
    let refused = 0;
    let all = 0;
    const connection = async (): Promise<void> => {
      for (let sent = performance.now(); sent < ends; sent = performance.now()) {
        const status = await post();
        const now = performance.now();
        all += 1;
        if (sent < begins || now > ends) continue;
        if (status !== 202) refused += 1;
        times.push(now - sent);
      }
    };
    await Promise.all(Array.from({ length: connections }, connection));
    agent.destroy();
    times.sort((a, b) => a - b);
    const at = (quantile: number): number =>
      times[Math.min(times.length - 1, Math.floor(times.length * quantile))] ?? Number.NaN;
    return {
      perSecond: times.length / (measureMs / 1000),
      p50Ms: at(0.5),
      p99Ms: at(0.99),
      requests: times.length,
      allRequests: all,
      refused,
    };
  };
});
