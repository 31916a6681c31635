import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** The way to the database with a gate in it: a call of one function can be stopped before or after it takes effect. */
export interface Gate extends AsyncDisposable {
  readonly url: string;
  /**
   * Holds every further call of a database function: `before` it reaches the database, or `after` it has committed,
   * with the answer still to come. `whose`: only those with such a body. Resolves when the first one is held.
   */
  hold(rpc: string, when: "before" | "after", whose?: (body: string) => boolean): Promise<void>;
  /** Lets the held calls go on, and holds no more of them. */
  release(rpc: string): void;
  /** Holds no more calls; those that are held stay so. */
  forgetHolds(): void;
  /** From now on nothing is answered, as by a database that hangs. */
  freeze(): void;
}

interface Hold {
  when: "before" | "after";
  whose: (body: string) => boolean;
  reached: PromiseWithResolvers<void>;
  released: PromiseWithResolvers<void>;
}

/** Opens a gate in front of PostgREST. */
export async function openGate(supabaseUrl: string): Promise<Gate> {
  const holds = new Map<string, Hold>();
  let frozen = false;

  async function forward(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    if (frozen) return;
    const hold = holds.get(/\/rpc\/(\w+?)(?:_raw)?\b/.exec(incoming.url ?? "")?.[1] ?? "");
    const sent = Buffer.concat(chunks);
    const isHeld = hold?.whose(sent.toString()) ?? false;
    const wait = async (when: Hold["when"]): Promise<void> => {
      if (!isHeld || hold?.when !== when) return;
      hold.reached.resolve();
      await hold.released.promise;
    };
    await wait("before");
    const { host: _host, "content-length": _length, connection: _connection, ...headers } = incoming.headers;
    const method = incoming.method ?? "GET";
    const answer = await fetch(supabaseUrl + incoming.url, {
      method,
      headers: headers as Record<string, string>,
      ...(method === "GET" || method === "HEAD" ? {} : { body: sent }),
    });
    const body = Buffer.from(await answer.arrayBuffer());
    await wait("after");
    const type = answer.headers.get("content-type");
    outgoing.writeHead(answer.status, type === null ? {} : { "content-type": type }).end(body);
  }

  const server = createServer((incoming, outgoing) => {
    // The caller being killed in the middle is what this is for.
    forward(incoming, outgoing).catch(() => outgoing.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    hold(rpc, when, whose = () => true) {
      const hold = { when, whose, reached: Promise.withResolvers<void>(), released: Promise.withResolvers<void>() };
      holds.set(rpc, hold);
      return hold.reached.promise;
    },
    release(rpc) {
      holds.get(rpc)?.released.resolve();
      holds.delete(rpc);
    },
    forgetHolds() {
      holds.clear();
    },
    freeze() {
      frozen = true;
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
