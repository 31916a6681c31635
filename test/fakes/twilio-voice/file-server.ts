import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";

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
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const served: FileServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    files,
    hits,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
  return served;
}

/** Lets tests be fetched from; everything else stays as it is. */
export const LOOPBACK = { allowPrivate: true, ports: "any" } as const;
