import { chromium, type Browser } from "playwright-core";
import { findOnPath } from "../../dev/stack/binaries.ts";
import { installWith, type Recipe } from "../../dev/stack/system-packages.ts";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const RECIPES: readonly Recipe[] = [
  {
    tool: "apt-get",
    commands: [
      ["apt-get", "update", "-qq"],
      ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"],
    ],
    needsRoot: true,
  },
  { tool: "apk", commands: [["apk", "add", "--no-cache", "chromium"]], needsRoot: true },
  { tool: "dnf", commands: [["dnf", "install", "-y", "-q", "chromium"]], needsRoot: true },
];

const find = (): string | undefined => NAMES.map((name) => findOnPath(name)).find((file) => file !== undefined);

/** Sees to it that there is a Chromium, where that needs no question. Whoever needs it fails in words when there is none. */
export async function ensureChromium(log: (line: string) => void): Promise<void> {
  if (find() !== undefined) return;
  const failure = await installWith(RECIPES, "chromium", log);
  if (failure !== undefined) log(`chromium: ${failure}`);
}

/** Starts the Chromium of this machine. */
export function openChromium(): Promise<Browser> {
  const executablePath = find();
  if (executablePath === undefined) {
    throw new Error("The console is tested in a Chromium, and there is none on PATH: install the package chromium.");
  }
  // Root has no sandbox of its own; the pages are ours.
  return chromium.launch({ executablePath, args: process.getuid?.() === 0 ? ["--no-sandbox"] : [] });
}
