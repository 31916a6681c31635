import { expect, inject, test } from "vitest";
import { readOutput } from "../helpers/output.ts";
import { createScanner } from "../helpers/scan.ts";

const SHOWN = 20;

test("all that the services of this run have logged → no secret, no number and no text of a message", async ({
  annotate,
}) => {
  const { lines, privates } = readOutput(inject("output"));
  expect(lines.length, "run the whole suite: this reads what the other tests leave behind").toBeGreaterThan(0);
  const { adminDatabaseUrl, jwtSecret } = inject("stack");
  privates.push({ kind: "secret", value: jwtSecret }, { kind: "secret", value: new URL(adminDatabaseUrl).password });
  const scan = createScanner(privates);
  const found = lines.flatMap(({ file, line }) => scan(line).map((what) => ({ what, file, line })));
  await annotate(`${lines.length} lines, ${privates.length} values that must not stand in them`);
  expect(found.slice(0, SHOWN), `${found.length} in all`).toEqual([]);
});
