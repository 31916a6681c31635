import { existsSync, readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { z } from "zod";
import { envExample, withTable } from "../../dev/docs.ts";
import { readConfig } from "../../src/config.ts";
import { LAST_RESORT_MS } from "../../src/main.ts";
import { CHANNELS, QUEUE_NAMES } from "../../src/modules.ts";

const read = (name: string): string => readFileSync(new URL(`../../${name}`, import.meta.url), "utf8");

/** All that people read, from the root of the repository. */
const DOCUMENTS = [".", "docs", "bench", "console", "ops", "examples", "examples/nextjs"].flatMap((folder) =>
  readdirSync(new URL(`../../${folder}/`, import.meta.url))
    .filter((file) => file.endsWith(".md"))
    .map((file) => (folder === "." ? file : `${folder}/${file}`)),
);

test(".env.example lists exactly the variables that are read", () => {
  expect(read(".env.example"), "run `npm run docs`").toBe(envExample());
});

test("the README's table lists exactly the variables that are read", () => {
  expect(read("README.md"), "run `npm run docs`").toBe(withTable(read("README.md")));
});

test("the required variables of .env.example are enough to start", () => {
  const environment = Object.fromEntries(
    read(".env.example")
      .split("\n")
      .filter((line) => /^[A-Z]/.test(line))
      .map((line) => [line.slice(0, line.indexOf("=")), "http://localhost"]),
  );
  expect(() => readConfig({ ...environment, REDIS_URL: "redis://localhost" }, CHANNELS)).not.toThrow();
});

test("each command that a document names exists", () => {
  const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
  const named = DOCUMENTS.flatMap((name) =>
    [...read(name).matchAll(/npm (?:run ([\w:-]*\w)|(start|test)\b)/g)].map(([, script, short]) => [
      name,
      script ?? short,
    ]),
  );
  expect(new Set(named.map(([, script]) => script)).size).toBeGreaterThan(5);
  // Not `toHaveProperty`, which takes a name with a colon, or one that every object has, for more than it is.
  expect(named.filter(([, script = ""]) => !Object.hasOwn(scripts, script))).toEqual([]);
});

test("each relative link of the documents leads somewhere, to a heading that is there", () => {
  for (const name of DOCUMENTS) {
    const base = new URL(`../../${name}`, import.meta.url);
    for (const [, target = "", heading] of read(name).matchAll(/\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)/g)) {
      const place = target === "" ? base : new URL(target, base);
      expect(existsSync(place), `${name} → ${target}`).toBe(true);
      if (heading !== undefined)
        expect(headingsOf(readFileSync(place, "utf8")), `${name} → ${target}`).toContain(heading);
    }
  }
});

/** As GitHub names them in links. */
const headingsOf = (text: string): string[] =>
  [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );

test("ARCHITECTURE.md lists each queue of the registry, with each channel that it carries", () => {
  const text = read("ARCHITECTURE.md");
  const rows = text.slice(text.indexOf("<!-- queues -->"), text.indexOf("<!-- /queues -->"));
  const listed = [...rows.matchAll(/^\| `(\w+)` \| (.*?) \|/gm)];
  expect(listed.map(([, name]) => name)).toEqual(QUEUE_NAMES);
  for (const { name, queue } of CHANNELS) {
    expect(listed.find(([, row]) => row === queue)?.[2], name).toContain(`\`${name}\``);
  }
});

test("ARCHITECTURE.md has a row for each room", () => {
  const text = read("ARCHITECTURE.md");
  const rooms = readdirSync(new URL("../../src", import.meta.url), { withFileTypes: true });
  for (const room of rooms) expect(text).toContain(`\`src/${room.name}${room.isDirectory() ? "/" : ""}\``);
});

/**
 * All of Railway's config as code that suits an image, with what it takes: https://docs.railway.com/config-as-code/reference.
 * That page shows seconds as text, which its parser refuses: https://github.com/railwayapp/docs/issues/1243.
 */
const RAILWAY = z.strictObject({
  $schema: z.literal("https://railway.com/railway.schema.json"),
  build: z.strictObject({
    builder: z.literal("DOCKERFILE"),
    dockerfilePath: z.string(),
    watchPatterns: z.array(z.string()).optional(),
  }),
  deploy: z.strictObject({
    // It would stand in the place of the image's ENTRYPOINT, and so of tini.
    startCommand: z.undefined().optional(),
    preDeployCommand: z.array(z.string()).optional(),
    healthcheckPath: z.string().startsWith("/"),
    healthcheckTimeout: z.int().positive(),
    restartPolicyType: z.enum(["ON_FAILURE", "ALWAYS", "NEVER"]),
    restartPolicyMaxRetries: z.int().positive(),
    overlapSeconds: z.int().nonnegative(),
    drainingSeconds: z.int().positive(),
  }),
});

test("railway.json has only what Railway knows, and the platform waits longer than the service takes to stop", () => {
  const { build, deploy } = RAILWAY.parse(JSON.parse(read("railway.json")));
  const { shutdownTimeoutMs, http } = readConfig(
    { API_SECRET: "x", REDIS_URL: "redis://x", SUPABASE_URL: "http://x", SUPABASE_SERVICE_KEY: "x", PORT: "8123" },
    CHANNELS,
  );
  // Two seconds for the signal to arrive, and for a machine that is slow.
  const longestMs = shutdownTimeoutMs + LAST_RESORT_MS + 2000;
  const graces = [
    ...read("GRACEFUL-SHUTDOWN.md").matchAll(/(?:terminationGracePeriodSeconds: |docker stop -t )(\d+)/g),
    ...read("compose.yaml").matchAll(/stop_grace_period: (\d+)s/g),
  ].map(([, seconds]) => Number(seconds));
  expect(graces).toHaveLength(3);
  for (const seconds of [deploy.drainingSeconds, ...graces]) expect(seconds * 1000).toBeGreaterThan(longestMs);
  expect(read("GRACEFUL-SHUTDOWN.md")).toContain(`default ${shutdownTimeoutMs / 1000} s`);
  for (const text of [read("GRACEFUL-SHUTDOWN.md"), read("docs/operations.md")]) {
    expect(text).toMatch(new RegExp(`\\b${deploy.drainingSeconds} s\\b`));
    expect(text).toMatch(new RegExp(`\\b${deploy.overlapSeconds} s\\b`));
  }
  expect(deploy.healthcheckPath).toBe("/ready");
  // It gives the port, and asks the health check there.
  expect(http).toMatchObject({ port: 8123, host: "0.0.0.0" });
  const image = read(build.dockerfilePath);
  // What gets the signal is node, by way of tini.
  expect(image).toMatch(/^CMD \["node", .*"dist\/index\.js"\]$/m);
  expect(image).toMatch(/^ENTRYPOINT \["tini", "--"\]$/m);
});
