import { randomInt } from "node:crypto";
import { lookup } from "node:dns/promises";
import { once } from "node:events";
import http from "node:http";

export interface ServedFile {
  type?: string;
  status?: number;
  body?: Buffer | string;
  location?: string;
  /** Takes the request and says nothing. */
  silent?: boolean;
}

/** Somebody's web server, with recordings and other things on it. */
export interface FileServer extends AsyncDisposable {
  url: string;
  /** The same by a name, and so an address that a caller may give; who fetches with `LOOPBACK` gets there. */
  publicUrl: string;
  files: Record<string, ServedFile>;
  /** How often each path was asked for. */
  hits: Record<string, number>;
}

export async function startFileServer(files: Record<string, ServedFile>): Promise<FileServer> {
  const hits: Record<string, number> = {};
  const server = http.createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? "/");
    hits[path] = (hits[path] ?? 0) + 1;
    const file = served.files[path] ?? { status: 404, body: "" };
    if (file.silent) return;
    const { type = "audio/mpeg", status = 200, body = "", location } = file;
    const headers = { "content-type": type, "content-length": Buffer.byteLength(body) };
    response.writeHead(status, { ...headers, ...(location ? { location } : {}) }).end(body);
  });
  // An address of its own on loopback, as the port is one of the few that may be fetched from.
  const host = `127.${randomInt(1, 255)}.${randomInt(255)}.${randomInt(1, 255)}`;
  server.listen(8080, host);
  await once(server, "listening");
  const served: FileServer = {
    url: `http://${host}:8080`,
    publicUrl: `http://${host.replaceAll(".", "-")}${NAMED}:8080`,
    files,
    hits,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
  return served;
}

/** What follows a file server's address in its name. */
const NAMED = ".files.example.com";

/** Lets tests be fetched from, file servers by their names too; everything else stays as it is. */
export const LOOPBACK = {
  allowPrivate: true,
  ports: "any",
  async lookup(hostname: string) {
    if (!hostname.endsWith(NAMED)) return lookup(hostname, { all: true });
    return [{ address: hostname.slice(0, -NAMED.length).replaceAll("-", "."), family: 4 }];
  },
} as const;
