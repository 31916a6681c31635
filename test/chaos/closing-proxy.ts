/** Closes a proxy in the moment in which it passes an end on, and has nothing left to do then. */
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { TcpProxy } from "../../bench/chaos/tcp-proxy.ts";

const server = createServer((socket) => socket.resume()).listen(0, "127.0.0.1");
await once(server, "listening");
const { port } = server.address() as AddressInfo;
const proxy = await TcpProxy.open(port);
const [client] = await joined(proxy.port);
const [witness, other] = await joined(port);

// Both ends arrive in one turn of the event loop, the proxy's first.
client.end();
witness.end();
await once(other, "end");
await proxy[Symbol.asyncDispose]();
server.close();

async function joined(at: number): Promise<[here: Socket, there: Socket]> {
  const accepted = once(server, "connection") as Promise<[Socket]>;
  const here = connect({ host: "127.0.0.1", port: at }).on("error", () => {});
  const [there] = await accepted;
  return [here, there.on("error", () => {})];
}
