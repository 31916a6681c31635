import { randomUUID } from "node:crypto";
import { linkSync, openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { basename, join } from "node:path";
import type { Logger } from "pino";
import { inject } from "vitest";
import { createLogger } from "../../src/core/logger.ts";

declare module "vitest" {
  export interface ProvidedContext {
    /** A directory of the run's own for what its services log; `test/output` reads it when everything else has run. */
    output: string;
  }
}

/** What must not stand in any log: credentials, people's numbers, and what they were written. */
export type PrivateKind = "secret" | "number" | "text";
export interface Private {
  kind: PrivateKind;
  value: string;
}

const files = new Map<string, number>();
const kept = new Set<string>();

/** One file a process and kind, which nothing has to close: each line is written when it comes. */
function append(kind: "log" | "private", text: string): void {
  const name = `${kind}-${process.pid}.jsonl`;
  const file = files.get(name) ?? openSync(join(inject("output"), name), "a", 0o600);
  files.set(name, file);
  writeSync(file, text);
}

/** Keeps lines of a service that runs elsewhere. */
export function keepOutput(line: string): void {
  append("log", `${line}\n`);
}

/** Keeps what is written to a file of the same disk, also when that is removed later. */
export function keepFile(path: string): void {
  linkSync(path, join(inject("output"), `log-${randomUUID()}.jsonl`));
}

/** A logger as the service has it in production, at its most talkative, into the run's output. */
function outputLog(): Logger {
  return createLogger({ level: "debug", destination: { write: (line: string) => append("log", line) } });
}

const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"] as const;

/** A logger that also writes what it is told into the run's output. */
export function alsoKept(log: Logger, output: Logger = outputLog()): Logger {
  const both = Object.create(log) as Logger;
  for (const level of LEVELS) {
    both[level] = (...args: Parameters<Logger["info"]>) => {
      output[level](...args);
      log[level](...args);
    };
  }
  const child = (bindings: object, options?: object): Logger =>
    alsoKept(log.child(bindings, options), output.child(bindings, options));
  both.child = child as unknown as Logger["child"];
  return both;
}

/** Remembers what the output is searched for. */
export function keepPrivate(kind: PrivateKind, ...values: string[]): void {
  for (const value of values) {
    const line = JSON.stringify({ kind, value } satisfies Private);
    if (kept.has(line)) continue;
    kept.add(line);
    append("private", `${line}\n`);
  }
}

const SECRET_NAME = /(?:SECRET|TOKEN|PASSWORD|_KEY|_SALT)$/;

/** The credentials of a service's environment, those in its addresses too. */
export function keepEnvironment(environment: Record<string, string | undefined>): void {
  for (const [name, value = ""] of Object.entries(environment)) {
    if (SECRET_NAME.test(name)) keepPrivate("secret", ...value.split(",").map((secret) => secret.trim()));
    else if (URL.canParse(value)) keepPrivate("secret", ...[new URL(value).password].filter(Boolean));
  }
}

const FIELDS: Record<string, PrivateKind> = {
  recipientPhone: "number",
  senderPhone: "number",
  message: "text",
  text: "text",
};

/** The numbers and texts of a request's body, at any depth. */
export function keepBody(body: unknown): void {
  if (typeof body !== "object" || body === null) return;
  for (const [key, value] of Object.entries(body)) {
    const kind = FIELDS[key];
    if (kind !== undefined && typeof value === "string") keepPrivate(kind, value);
    else keepBody(value);
  }
}

/** All that was kept in the run so far: lines, and what is private. */
export function readOutput(directory: string): { lines: { file: string; line: string }[]; privates: Private[] } {
  const lines: { file: string; line: string }[] = [];
  const privates: Private[] = [];
  for (const file of readdirSync(directory, { recursive: true, encoding: "utf8" })) {
    // The other servers' own logs are none of ours.
    if (!/^(?:log|private|service)-/.test(basename(file))) continue;
    const content = readFileSync(join(directory, file), "utf8").split("\n").filter(Boolean);
    if (file.startsWith("private-")) privates.push(...content.map((line) => JSON.parse(line) as Private));
    else for (const line of content) lines.push({ file, line });
  }
  return { lines, privates };
}
