import type { ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { UnavailableError } from "../core/errors.ts";
import type { EventStore, StoredEvent } from "../store/events.ts";
import { bodyOf } from "./types.ts";

export interface LiveOptions {
  events: Pick<EventStore, "listen" | "read">;
  log: Logger;
}

/** What a reader wants: all of an account, or one of its hunts. */
export interface LiveFilter {
  accountId: string;
  huntId: string | undefined;
}

export interface Live {
  /** Readers of this process. */
  readonly readers: number;
  /**
   * From the moment that it resolves no event is missed. `after`: the position that the reader has seen last. Answers what
   * writes the events to an answer whose head is out, until its reader goes away. Rejects with `UnavailableError`.
   */
  open(filter: LiveFilter, after: number | undefined): Promise<(response: ServerResponse) => void>;
  /** Ends all answers; readers come again, to another process, and go on where they were. */
  close(): void;
}

/**
 * A reader is catching up (it reads pages of its own until it has what all have) → live (what the process reads is shared
 * out to all that are live) → gone. One that joins while a page of all is under way catches up once more.
 */
interface Reader extends LiveFilter {
  response: ServerResponse;
  /** All up to there is written. */
  pos: number;
  /** Beats of the heart since what was written last had gone out. */
  stuck: number;
}

const POLL_MS = 300;
const AFTER_FAULT_MS = 1000;
/** Events a page. */
const PAGE = 500;
const HEARTBEAT_MS = 15_000;
/** For how long events are kept for an account after its last reader, seconds: a reader that comes again misses nothing. */
const KEPT_SECONDS = 3600;
const RENEW_MS = 5 * 60_000;
/** What may wait to go out to one reader when there is more to be written, bytes; one page comes on top. */
const MAX_BUFFERED = 256 * 1024;
/** Of the heart, without anything going out. */
const MAX_STUCK = 4;
/** What readers are told to wait before they come again, milliseconds. */
const RETRY_MS = 2000;

/** Server-sent events: one reading of the outbox for all readers of the process. */
export function createLive({ events, log }: LiveOptions): Live {
  const readers = new Set<Reader>();
  const live = new Set<Reader>();
  const closing = new AbortController();
  /** What has been shared out among those that are live. */
  let head = 0;
  let polling = false;
  let heartbeat: NodeJS.Timeout | undefined;
  let renewal: NodeJS.Timeout | undefined;

  function leave(reader: Reader): void {
    readers.delete(reader);
    live.delete(reader);
    if (readers.size > 0) return;
    clearInterval(heartbeat);
    clearInterval(renewal);
    heartbeat = renewal = undefined;
  }

  function drop(reader: Reader): void {
    leave(reader);
    log.info({ accountId: reader.accountId }, "a reader of live events was too slow");
    reader.response.destroy();
  }

  /** False: the reader is gone. */
  function write(reader: Reader, text: string | Buffer): boolean {
    if (!readers.has(reader)) return false;
    if (reader.response.writableLength > MAX_BUFFERED) {
      drop(reader);
      return false;
    }
    reader.response.write(text);
    return true;
  }

  async function catchUp(reader: Reader): Promise<void> {
    while (readers.has(reader)) {
      const page = await events.read(reader.pos, [reader.accountId], reader.huntId, PAGE);
      reader.pos = page.head;
      if (page.lost && !write(reader, resetAt(page.head))) return;
      if (page.events.length > 0) {
        if (!write(reader, page.events.map(frameOf).join(""))) return;
        await drained(reader);
      }
      if (page.events.length === PAGE || (live.size > 0 && reader.pos < head) || !readers.has(reader)) continue;
      if (live.size === 0) head = reader.pos;
      live.add(reader);
      startPolling();
      return;
    }
  }

  /** A reader that reads old events does so at its own pace, up to the patience for those that have stopped reading. */
  async function drained({ response }: Reader): Promise<void> {
    if (!response.writableNeedDrain) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    response.once("drain", resolve).once("close", resolve);
    await Promise.race([promise, delay(HEARTBEAT_MS, undefined, { signal: closing.signal }).catch(() => {})]);
    response.off("drain", resolve).off("close", resolve);
  }

  function keepCatchingUp(reader: Reader): void {
    catchUp(reader).catch((error: unknown) => {
      if (!(error instanceof UnavailableError)) log.error({ err: error }, "reading events failed");
      // It comes again, and goes on where it was.
      leave(reader);
      reader.response.destroy();
    });
  }

  async function poll(): Promise<number> {
    const group = [...live];
    const accounts = [...new Set(group.map(({ accountId }) => accountId))];
    const page = await events.read(head, accounts, undefined, PAGE);
    head = page.head;
    if (page.lost) for (const reader of group) write(reader, resetAt(head));
    else if (page.events.length > 0) share(group, page.events);
    for (const reader of group) reader.pos = page.lost ? head : Math.max(reader.pos, head);
    for (const reader of live) {
      if (reader.pos >= head) continue;
      live.delete(reader);
      keepCatchingUp(reader);
    }
    return page.events.length === PAGE ? 0 : POLL_MS;
  }

  /** Those who want the same get the same bytes, put together once. */
  function share(group: readonly Reader[], page: readonly StoredEvent[]): void {
    const frames = page.map((event) => ({ event, frame: frameOf(event) }));
    const bytes = new Map<string, Buffer>();
    for (const reader of group) {
      const { accountId, huntId, pos } = reader;
      const key = JSON.stringify([accountId, huntId, pos]);
      let wanted = bytes.get(key);
      if (wanted === undefined) {
        const own = frames.filter(
          ({ event }) =>
            event.pos > pos && event.accountId === accountId && (huntId === undefined || event.huntId === huntId),
        );
        wanted = Buffer.from(own.map(({ frame }) => frame).join(""));
        bytes.set(key, wanted);
      }
      if (wanted.length > 0) write(reader, wanted);
    }
  }

  function startPolling(): void {
    if (polling) return;
    polling = true;
    void (async () => {
      while (live.size > 0 && !closing.signal.aborted) {
        const waitMs = await poll().catch((error: unknown) => {
          if (error instanceof UnavailableError) log.debug({ err: error }, "reading events put off");
          else log.error({ err: error }, "reading events failed");
          return AFTER_FAULT_MS;
        });
        await delay(waitMs, undefined, { signal: closing.signal }).catch(() => {});
      }
      polling = false;
    })();
  }

  function beat(): void {
    for (const reader of readers) {
      reader.stuck = reader.response.writableLength > 0 ? reader.stuck + 1 : 0;
      if (reader.stuck >= MAX_STUCK) drop(reader);
      // With where it is, so that it need not look far back when it comes again.
      else if (live.has(reader)) write(reader, `: alive\nid: ${reader.pos}\n\n`);
      else write(reader, ": alive\n\n");
    }
  }

  function renew(): void {
    const accounts = [...new Set([...readers].map(({ accountId }) => accountId))];
    events.listen(accounts, KEPT_SECONDS).catch((error: unknown) => {
      log.warn({ err: error }, "could not say that events are read; it is tried again");
    });
  }

  return {
    get readers() {
      return readers.size;
    },
    async open(filter, after) {
      const { head: current, tidied, since } = await events.listen([filter.accountId], KEPT_SECONDS);
      const complete = Math.max(tidied, since.get(filter.accountId) ?? 0);
      const pos = Math.max(Math.min(after ?? current, current), tidied);
      const begin = [`retry: ${RETRY_MS}\nid: ${pos}\n\n`];
      if (after !== undefined && (after > current || after < complete)) begin.push(resetAt(pos));
      return (response) => {
        if (closing.signal.aborted) return void response.end();
        const reader: Reader = { ...filter, response, pos, stuck: 0 };
        readers.add(reader);
        response.on("close", () => leave(reader));
        response.on("error", () => leave(reader));
        heartbeat ??= setInterval(beat, HEARTBEAT_MS);
        renewal ??= setInterval(renew, RENEW_MS);
        write(reader, begin.join(""));
        keepCatchingUp(reader);
      };
    },
    close() {
      closing.abort();
      for (const reader of readers) {
        leave(reader);
        reader.response.end();
      }
    },
  };
}

const resetAt = (pos: number): string =>
  `id: ${pos}\nevent: reset\ndata: {"detail":"Events may be missing before this. Read the state anew."}\n\n`;

const frameOf = (event: StoredEvent): string =>
  `id: ${event.pos}\nevent: ${event.type}\ndata: ${JSON.stringify(bodyOf(event))}\n\n`;
