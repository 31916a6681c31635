import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** The way to Redis, on which a connection can be stopped in the middle of what it says. */
export interface Wire extends AsyncDisposable {
  readonly port: number;
  /** Stops the connection that says `text`, right before it; resolves when it is there. */
  hold(text: string): Promise<void>;
  /** Lets the stopped connection go on, and stops no other. */
  release(): void;
}

interface Hold {
  text: string;
  held: (() => void)[];
  socket: Socket | undefined;
  reached: PromiseWithResolvers<void>;
}

/** Opens a wire to a port of this machine. Either side learns of it when the other one goes. */
export async function openWire(target: number): Promise<Wire> {
  let hold: Hold | undefined;
  const sockets = new Set<Socket>();

  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port: target, host: "127.0.0.1", noDelay: true });
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(one);
      // Who resets one side resets both: that is how a lost server is told apart from one that closes.
      one.on("error", () => other.resetAndDestroy());
      one.on("close", () => {
        sockets.delete(one);
        other.destroy();
      });
    }
    upstream.on("data", (chunk: Buffer) => void client.write(chunk));
    client.on("data", (chunk: Buffer) => {
      if (hold?.socket === client) return void hold.held.push(() => upstream.write(chunk));
      const at = hold && !hold.socket ? chunk.indexOf(hold.text) : -1;
      if (!hold || at === -1) return void upstream.write(chunk);
      const { reached } = hold;
      hold.socket = client;
      hold.held.push(() => upstream.write(chunk.subarray(at)));
      upstream.write(chunk.subarray(0, at), () => reached.resolve());
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    hold(text) {
      hold = { text, held: [], socket: undefined, reached: Promise.withResolvers<void>() };
      return hold.reached.promise;
    },
    release() {
      for (const write of hold?.held.splice(0) ?? []) write();
      hold = undefined;
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
