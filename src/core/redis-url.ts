/** Where Redis is, as one address says it. */
export type RedisPlace =
  | { kind: "single"; url: string }
  | {
      kind: "sentinel";
      name: string;
      sentinels: Node[];
      tls: boolean;
      username?: string;
      password?: string;
      db: number;
    }
  | { kind: "cluster"; nodes: Node[]; tls: boolean; username?: string; password?: string };

interface Node {
  host: string;
  port: number;
}

const SCHEME = /^(rediss?)(?:\+(sentinel|cluster))?:\/\/(.*)$/;
const DEFAULT_PORTS = { single: 6379, cluster: 6379, sentinel: 26_379 };

/**
 * Reads `redis://…`, `rediss://…` (TLS), `redis+sentinel://[user:password@]host:port,host:port/name[/db]` (the name of the
 * master; user and password are Redis' own) or `redis+cluster://[user:password@]host:port,host:port`, both also with
 * `rediss+`. Answers, in words, what is wrong.
 */
export function readRedisUrl(url: string): RedisPlace | string {
  const [, scheme, kind, rest = ""] = SCHEME.exec(url) ?? [];
  if (scheme === undefined) return "must begin with redis://, rediss://, redis+sentinel:// or redis+cluster://";
  if (!isEncoded(rest)) return "has a % in it that stands for nothing: write it as %25";
  if (kind === undefined) return URL.canParse(url) ? { kind: "single", url } : "is no address";
  const [authority = "", name, db = "0", ...more] = rest.split("/");
  const at = authority.lastIndexOf("@");
  const [username = "", password = ""] = authority.slice(0, Math.max(0, at)).split(":").map(decodeURIComponent);
  const nodes = authority
    .slice(at + 1)
    .split(",")
    .map((each) => URL.parse(`redis://${each}`));
  if (nodes.some((node) => !node?.hostname)) return "must list its hosts as host:port, with commas between";
  const access = {
    tls: scheme === "rediss",
    ...(username === "" ? {} : { username }),
    ...(password === "" ? {} : { password }),
  };
  const hosts = nodes.map((node) => ({
    host: node!.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: Number(node!.port || DEFAULT_PORTS[kind as "sentinel" | "cluster"]),
  }));
  if (kind === "cluster") return name ? "of a cluster has no path" : { kind, nodes: hosts, ...access };
  if (!name || more.length > 0 || !/^\d+$/.test(db))
    return "of Sentinel must end in the master's name: …:26379/mymaster";
  return { kind: "sentinel", sentinels: hosts, name: decodeURIComponent(name), db: Number(db), ...access };
}

function isEncoded(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}
