import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import * as source from "../../src/client.ts";

const run = promisify(execFile);
const ROOT = new URL("../../", import.meta.url);

test("the client's package → holds all that it imports, needs nothing, and exports what the source does", async () => {
  const directory = await mkdtemp(join(tmpdir(), "client-package-"));
  onTestFinished(() => rm(directory, { recursive: true }));
  await run("npm", ["run", "pack:client", "--", "--pack-destination", directory], { cwd: ROOT });
  const [tarball = ""] = await readdir(directory);
  await run("tar", ["-xzf", tarball], { cwd: directory });

  const unpacked = join(directory, "package");
  const described = JSON.parse(await readFile(join(unpacked, "package.json"), "utf8"));
  const whole = JSON.parse(await readFile(new URL("package.json", ROOT), "utf8"));
  expect([described.name, described.version]).toEqual([whole.name, whole.version]);
  expect(described).not.toHaveProperty("dependencies");
  const { types, default: entry } = described.exports["./client"];
  // Nothing of a repository is above it: what were missing would not be found.
  const client = (await import(/* @vite-ignore */ pathToFileURL(join(unpacked, entry)).href)) as typeof source;
  expect(Object.keys(client).toSorted()).toEqual(Object.keys(source).toSorted());
  expect(await readFile(join(unpacked, types), "utf8")).toContain("createClient");
});
