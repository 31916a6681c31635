/**
 * A fake Twilio in a process of its own, for the crash harness: `node test/fakes/twilio/cli.ts [port]`.
 *
 * Prints `{"url": …}` once it listens; then takes one JSON command a line on stdin and answers each with one line:
 * `{"script": {"to": "+33…", "answers": […]}}`, `{"next": […]}`, `{"otherwise": {…}}`, `{"accepted": true}`.
 */
import { createInterface } from "node:readline";
import { type TwilioAnswer, startFakeTwilio } from "./fake-twilio.ts";

interface Command {
  script?: { to: string; answers: TwilioAnswer[] };
  next?: TwilioAnswer[];
  otherwise?: TwilioAnswer;
  accepted?: true;
}

const print = (answer: object) => process.stdout.write(`${JSON.stringify(answer)}\n`);

await using fake = await startFakeTwilio({ port: Number(process.argv[2] ?? 0) });
print({ url: fake.url, accountSid: fake.accountSid, authToken: fake.authToken });
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as Command;
  if (command.script) fake.script(command.script.to, ...command.script.answers);
  if (command.next) fake.next(...command.next);
  if (command.otherwise) fake.otherwise(command.otherwise);
  print(command.accepted ? { accepted: fake.accepted } : { ok: true });
}
