/**
 * The provider that voice is sent through, in a process of its own; it takes the same commands on stdin as
 * test/fakes/twilio/cli.ts. Its log is what counts at the end: which attempt of which message it accepted.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import type { TwilioAnswer } from "../../test/fakes/twilio/fake-twilio.ts";

/** One accepted call. */
export interface Accepted {
  messageId: string;
  attemptId: string;
  providerMessageId: string;
}

const accepted: Accepted[] = [];
/** Attempts that were asked about and were not there: whatever still arrives of them is refused. */
const attempts = new Map<string, "accepted" | "fenced">();
let otherwise: TwilioAnswer = { kind: "accept" };
let fencedCalls = 0;

const server = createServer((request, response) => {
  // A caller that leaves in the middle is one of the situations under test.
  handle(request, response).catch(() => response.destroy());
});
server.listen(0, "127.0.0.1", () => {
  print({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
});

async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = JSON.parse(Buffer.concat(chunks).toString()) as { attemptId: string; messageId: string };
  if (request.url === "/reconcile") return json(response, 200, reconcile(body.attemptId));
  const answer = otherwise;
  switch (answer.kind) {
    case "error":
      return json(response, answer.status, {});
    case "hang":
      if (answer.accept) accept(body);
      return;
    case "reset":
      if (answer.accept) accept(body);
      response.socket?.resetAndDestroy();
      return;
    case "malformed":
      if (answer.accept) accept(body);
      return void response.writeHead(200).end('{"providerMessageId": "');
    case "slow":
      await delay(answer.delayMs);
      break;
    case "accept":
      break;
  }
  const providerMessageId = accept(body);
  if (providerMessageId === undefined) {
    fencedCalls += 1;
    return json(response, 409, {});
  }
  json(response, 200, { providerMessageId });
}

/** Counts every call that it takes, also a second one of the same attempt. */
function accept({ attemptId, messageId }: { attemptId: string; messageId: string }): string | undefined {
  if (attempts.get(attemptId) === "fenced") return undefined;
  attempts.set(attemptId, "accepted");
  const providerMessageId = `chaos:${attemptId}`;
  accepted.push({ messageId, attemptId, providerMessageId });
  return providerMessageId;
}

function reconcile(attemptId: string): object {
  if (attempts.get(attemptId) === "accepted") return { result: "accepted", providerMessageId: `chaos:${attemptId}` };
  attempts.set(attemptId, "fenced");
  return { result: "not_accepted" };
}

function json(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

function print(answer: object): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as { otherwise?: TwilioAnswer; accepted?: true };
  if (command.otherwise) otherwise = command.otherwise;
  print(command.accepted ? { accepted, fencedCalls } : { ok: true });
}
// The harness has gone.
process.exit();
