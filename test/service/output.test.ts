import { randomUUID } from "node:crypto";
import { expect, inject, test } from "vitest";
import { phone } from "../helpers/hunts.ts";
import { readOutput } from "../helpers/output.ts";
import { startProcess } from "../helpers/process.ts";
import { openWorld, SECRET } from "../helpers/service.ts";

// What test/output finds nothing in has to be there, or its finding nothing means nothing.
test.each([
  { where: "in the test's process", starts: "world" },
  { where: "in a process of its own", starts: "process" },
])("what a service $where logs → is kept, and so is what must not stand in it", async ({ starts }) => {
  await using world = await openWorld();
  const inProcess = starts === "world";
  await using service = inProcess ? await world.start() : await startProcess(world.environment);
  const marker = randomUUID();
  const text = `Bonjour ${marker}`;
  const headers = { "x-request-id": marker };
  const answer = await service.post("/api/phone/sms", { recipientPhone: phone(1), message: text }, headers);
  expect(answer.status).toBe(202);

  const kept = () => readOutput(inject("output"));
  await expect.poll(() => kept().lines.filter(({ line }) => line.includes(marker))).not.toEqual([]);
  const entry = kept().lines.find(({ line }) => line.includes(marker));
  expect(JSON.parse(entry!.line)).toMatchObject({ msg: "request" });
  expect(kept().privates).toEqual(
    expect.arrayContaining([
      { kind: "secret", value: SECRET },
      { kind: "secret", value: world.database.supabaseServiceKey },
      { kind: "number", value: phone(1) },
      { kind: "text", value: text },
    ]),
  );
});
