import { existsSync, readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { envExample, withTable } from "../../dev/docs.ts";
import { readConfig } from "../../src/config.ts";
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

test("the platform waits longer than the service takes to stop", () => {
  const railway = JSON.parse(read("railway.json")) as { deploy: { drainingSeconds: number; healthcheckPath: string } };
  const { shutdownTimeoutMs } = readConfig(
    { API_SECRET: "x", REDIS_URL: "redis://x", SUPABASE_URL: "http://x", SUPABASE_SERVICE_KEY: "x" },
    CHANNELS,
  );
  expect(railway.deploy.drainingSeconds * 1000).toBeGreaterThan(shutdownTimeoutMs + 2000);
  expect(read("GRACEFUL-SHUTDOWN.md")).toContain(`default ${shutdownTimeoutMs / 1000} s`);
  expect(railway.deploy.healthcheckPath).toBe("/ready");
});
