import { slept, type Calls } from "./calls.ts";
import { failed, type Result } from "./result.ts";
import type { EventsOptions, LiveEvent } from "./shapes.ts";

/** Before the connection is taken up again; the service may say otherwise, milliseconds. */
const RETRY_MS = 2000;
/** The service says something every 15 seconds: after such a silence the connection is dead, milliseconds. */
const SILENCE_MS = 45_000;

interface Frame {
  id?: string;
  event?: string;
  data?: string;
  retry?: string;
}

/**
 * Events as they happen, over as many connections as it takes: each goes on where the last one ended. Ends with a fault
 * that will not pass, or did not within `patienceMs`, as its last value.
 */
export async function* liveEvents(
  { open }: Calls,
  { accountId, huntId, lastEventId, patienceMs = 60_000, signal }: EventsOptions,
): AsyncGenerator<Result<LiveEvent>, void> {
  const query = new URLSearchParams({
    ...(accountId === undefined ? {} : { accountId }),
    ...(huntId === undefined ? {} : { huntId }),
  }).toString();
  let position = lastEventId;
  let retryMs = RETRY_MS;
  let failingSince: number | undefined;
  for (;;) {
    const ending = new AbortController();
    const either = signal === undefined ? ending.signal : AbortSignal.any([signal, ending.signal]);
    const opened = await open(
      `/api/events?${query}`,
      position === undefined ? {} : { "last-event-id": position },
      either,
    );
    let fault = opened.ok ? undefined : opened;
    if (opened.ok) {
      failingSince = undefined;
      try {
        for await (const frame of framesOf(opened.value, () => ending.abort())) {
          position = frame.id ?? position;
          if (frame.retry !== undefined) retryMs = Number(frame.retry);
          if (frame.data !== undefined) yield { ok: true, value: eventOf(frame, position) };
        }
      } catch (cause) {
        const detail = "The connection of live events broke.";
        fault = failed({ code: "network_error", detail, retryable: true, cause });
      } finally {
        ending.abort();
      }
    }
    if (signal?.aborted) return;
    if (fault) {
      failingSince ??= Date.now();
      if (!fault.error.retryable || Date.now() - failingSince >= patienceMs) {
        yield fault;
        return;
      }
    }
    if (!(await slept(Math.max(retryMs, fault?.error.retryAfterMs ?? 0), signal))) return;
  }
}

function eventOf({ event = "message", data = "{}" }: Frame, position: string | undefined): LiveEvent {
  const body = JSON.parse(data) as Partial<LiveEvent>;
  return { position: position ?? "", id: "", timestamp: "", data: {}, ...body, type: event };
}

/** As much of the format of server-sent events as the service writes. */
async function* framesOf(body: ReadableStream<Uint8Array>, onSilence: () => void): AsyncGenerator<Frame, void> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let timer = setTimeout(onSilence, SILENCE_MS);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(onSilence, SILENCE_MS);
      const parts = (rest + decoder.decode(value, { stream: true })).split("\n\n");
      rest = parts.pop() ?? "";
      for (const part of parts) yield frameOf(part);
    }
  } finally {
    clearTimeout(timer);
    await reader.cancel().catch(() => {});
  }
}

function frameOf(text: string): Frame {
  const fields = text.split("\n").map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trimStart()];
  });
  return Object.fromEntries(fields) as Frame;
}
