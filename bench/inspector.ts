import { setTimeout as delay } from "node:timers/promises";

/** What V8's sampling profiler answers: a tree of calls, and which of them ran at each sample. */
export interface CpuProfile {
  nodes: ProfileNode[];
  /** Ids of nodes. */
  samples: number[];
  /** Before each sample, microseconds. */
  timeDeltas: number[];
}

export interface ProfileNode {
  id: number;
  callFrame: { functionName: string; url: string; /** From 0. */ lineNumber: number };
  children?: number[];
}

const POLL_MS = 20;
const SAMPLING_MICROS = 250;

/** Profiles the process whose inspector listens on this port, from now until it is called. */
export async function startProfile(port: number): Promise<() => Promise<CpuProfile>> {
  const socket = new WebSocket(await addressOf(port));
  await new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve, { once: true });
    socket.addEventListener("error", () => reject(new Error("the inspector does not answer")), { once: true });
  });
  let last = 0;
  const call = (method: string, params: object = {}): Promise<{ profile?: CpuProfile }> =>
    new Promise((resolve, reject) => {
      const id = ++last;
      const onMessage = ({ data }: MessageEvent): void => {
        const answer = JSON.parse(String(data)) as { id?: number; result?: object; error?: { message: string } };
        if (answer.id !== id) return;
        socket.removeEventListener("message", onMessage);
        if (answer.error) reject(new Error(`${method}: ${answer.error.message}`));
        else resolve(answer.result ?? {});
      };
      socket.addEventListener("message", onMessage);
      socket.addEventListener("close", () => reject(new Error(`${method}: the process has gone`)), { once: true });
      socket.send(JSON.stringify({ id, method, params }));
    });
  await call("Profiler.enable");
  await call("Profiler.setSamplingInterval", { interval: SAMPLING_MICROS });
  await call("Profiler.start");
  return async () => {
    const { profile } = await call("Profiler.stop");
    socket.close();
    if (!profile) throw new Error("the inspector has no profile");
    return profile;
  };
}

async function addressOf(port: number): Promise<string> {
  const deadline = performance.now() + 5000;
  for (;;) {
    const answer = await fetch(`http://127.0.0.1:${port}/json/list`).catch(() => undefined);
    const [target] = ((await answer?.json()) ?? []) as { webSocketDebuggerUrl: string }[];
    if (target) return target.webSocketDebuggerUrl;
    if (performance.now() > deadline) throw new Error("the process has no inspector");
    await delay(POLL_MS);
  }
}
