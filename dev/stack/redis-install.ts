import { installWith, type Recipe } from "./system-packages.ts";

/**
 * Debian's redis-tools holds the server's very program (as redis-check-rdb; redis-server is a link to it) and starts no
 * service at installation, as the package redis-server would, on port 6379.
 */
const RECIPES: readonly Recipe[] = [
  {
    tool: "apt-get",
    commands: [
      ["apt-get", "update", "-qq"],
      ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "redis-tools"],
    ],
    needsRoot: true,
  },
  { tool: "apk", commands: [["apk", "add", "--no-cache", "redis"]], needsRoot: true },
  { tool: "dnf", commands: [["dnf", "install", "-y", "-q", "redis"]], needsRoot: true },
  { tool: "brew", commands: [["brew", "install", "--quiet", "redis"]], needsRoot: false },
];

/** Installs Redis, where that needs no question; answers why it could not. */
export const installRedis = (log: (line: string) => void): Promise<string | undefined> =>
  installWith(RECIPES, "redis-server", log);
