import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import { hasFailover, orderVariable } from "../src/config/channels.ts";
import { BASE_ENV } from "../src/config/env.ts";
import { CHANNELS } from "../src/modules.ts";

/** A variable of the environment as the documents show it. */
export interface Variable {
  name: string;
  /** undefined: there is none. */
  fallback: string | undefined;
  required: boolean;
  description: string;
}

/** Every variable that the service reads, by group, from the very schemas that read them. */
export function variables(): { group: string; variables: Variable[] }[] {
  const groups = [{ group: "Service", variables: fromShape(BASE_ENV) }];
  const choice = [...Map.groupBy(CHANNELS, ({ providerVariable }) => providerVariable)].map(([name, carried]) => ({
    name,
    fallback: undefined,
    required: false,
    description: `Who carries ${carried.map((channel) => `\`${channel.name}\``).join(", ")}: ${carried[0]!.providers.map((provider) => `\`${provider.name}\``).join(" or ")}; default: the one with credentials, else the sandbox outside production`,
  }));
  const orders = CHANNELS.filter(hasFailover).map((channel) => ({
    name: orderVariable(channel),
    fallback: undefined,
    required: false,
    description: `Instead of \`${channel.providerVariable}\`: several, in order of preference, such as \`${channel.providers
      .slice(0, 2)
      .map(({ name }) => name)
      .join(",")}\`; with a country at its end (\`${orderVariable(channel)}_FR\`) for its recipients`,
  }));
  groups.push({ group: "Choice of providers", variables: [...choice, ...orders] });
  for (const { name, settings } of CHANNELS)
    if (settings) groups.push({ group: `Channel ${name}`, variables: fromShape(settings.env) });
  const definitions = new Map(
    CHANNELS.flatMap(({ providers }) => providers.map((provider) => [provider.name, provider])),
  );
  for (const { name, env } of definitions.values())
    groups.push({ group: `Provider ${name}`, variables: fromShape(env) });
  // One that several groups read, such as an account's, is told of once.
  const told = new Set<string>();
  for (const group of groups)
    group.variables = group.variables.filter((each) => !told.has(each.name) && told.add(each.name));
  return groups;
}

function fromShape(shape: z.ZodRawShape): Variable[] {
  return Object.entries(shape).map(([name, schema]) => {
    const absent = z.safeParse(schema, undefined);
    return {
      name,
      fallback: absent.success ? (absent.data as string | number | undefined)?.toString() : undefined,
      required: !absent.success,
      description: (schema as z.ZodType).description ?? "",
    };
  });
}

/** The text of `.env.example`. */
export function envExample(): string {
  const lines = ["# Every variable that the service reads. Empty counts as absent. `npm run docs` writes this file."];
  for (const { group, variables: list } of variables()) {
    lines.push("", `# --- ${group} ---`);
    for (const { name, fallback, required, description } of list) {
      lines.push("", `# ${description.replaceAll("`", "")}${required ? " (required)" : ""}`);
      lines.push(required ? `${name}=` : `# ${name}=${fallback ?? ""}`);
    }
  }
  return `${lines.join("\n")}\n`;
}

/** The README's table of variables. */
export function envTable(): string {
  const rows = variables().flatMap(({ variables: list }) =>
    list.map(({ name, fallback, required, description }) => {
      const value = required ? "**required**" : fallback === undefined ? "" : `\`${fallback}\``;
      return `| \`${name}\` | ${value} | ${description.replaceAll("|", "\\|")} |`;
    }),
  );
  return ["| Variable | Default | What it is |", "| --- | --- | --- |", ...rows].join("\n");
}

const START = "<!-- variables: written by npm run docs -->";
const END = "<!-- /variables -->";

/** The README with its table as it should be. Throws when the markers are gone. */
export function withTable(readme: string): string {
  const start = readme.indexOf(START);
  const end = readme.indexOf(END);
  if (start < 0 || end < start) throw new Error(`README.md has lost its markers ${START} … ${END}`);
  return `${readme.slice(0, start + START.length)}\n\n${envTable()}\n\n${readme.slice(end)}`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const at = (name: string): URL => new URL(`../${name}`, import.meta.url);
  writeFileSync(at(".env.example"), envExample());
  writeFileSync(at("README.md"), withTable(readFileSync(at("README.md"), "utf8")));
}
