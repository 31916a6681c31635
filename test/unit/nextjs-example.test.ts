import { createHmac } from "node:crypto";
import { expect, test } from "vitest";
import { liveEvents } from "../../examples/nextjs/lib/live-events.ts";
import { after, ended, type Progress } from "../../examples/nextjs/lib/progress.ts";
import { accountOf } from "../../examples/nextjs/lib/session.ts";
import { isSigned } from "../../examples/nextjs/lib/standard-webhooks.ts";
import { serve } from "../helpers/client.ts";

// The example of https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const AT = 1_614_265_330;
const BODY = '{"test": 2432232314}';
const SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

function signed(changes: Record<string, string> = {}, body = BODY, nowMs = AT * 1000): boolean {
  const headers = { "webhook-id": ID, "webhook-timestamp": String(AT), "webhook-signature": SIGNATURE, ...changes };
  return isSigned(new Headers(headers), body, SECRET, nowMs);
}

test("what the specification signs → is the worker's, also beside the signature of another secret", () => {
  expect(signed()).toBe(true);
  const other = createHmac("sha256", "other").update("x").digest("base64");
  expect(signed({ "webhook-signature": `v1,${other} ${SIGNATURE}` })).toBe(true);
});

test.each([
  ["another body", signed({}, `${BODY} `)],
  ["another id", signed({ "webhook-id": "msg_other" })],
  ["another time", signed({ "webhook-timestamp": String(AT + 1) })],
  ["a signature of another kind", signed({ "webhook-signature": SIGNATURE.replace("v1,", "v1a,") })],
  ["no signature", signed({ "webhook-signature": "" })],
  ["one that was recorded", signed({}, BODY, (AT + 301) * 1000)],
  ["one from the future", signed({}, BODY, (AT - 301) * 1000)],
])("%s → is not", (_, result) => expect(result).toBe(false));

test("a receipt after the end → counts, and the hunt stays completed until contacts are added", () => {
  let progress: Progress = { total: 3, counts: { queued: 3 }, completed: false };
  const steps = [
    ["hunt.started", { queued: 1, sending: 1 }],
    ["hunt.progress", { queued: 1, sent: 2 }],
    ["hunt.completed", { sent: 3 }],
    ["hunt.progress", { sent: 2, delivered: 1 }],
    ["hunt.started", { queued: 1, delivered: 3 }],
  ] as const;
  const seen = steps.map(([type, counts]) => {
    progress = after(progress, type, counts);
    return [ended(progress), progress.total, progress.completed];
  });
  expect(seen).toEqual([
    [0, 3, false],
    [2, 3, false],
    [3, 3, true],
    [3, 3, true],
    [3, 4, false],
  ]);
});

test("who is logged in → is told by the cookie, the only thing that an EventSource sends", async () => {
  const of = (headers: Record<string, string>) => accountOf(new Request("http://app.example", { headers }));
  expect(await of({ cookie: "theme=dark; session=acc_456; other=x" })).toBe("acc_456");
  expect(await of({ cookie: "mysession=acc_456; session=" })).toBeUndefined();
  expect(await of({ "x-demo-account": "acc_456" })).toBeUndefined();
});

test("a worker that is away, or fails → the browser comes again; a hunt that is not there → it does not", async () => {
  const asked: unknown[] = [];
  const url = await serve((request, response) => {
    const status = Number(new URL(request.url!, "http://x").searchParams.get("huntId"));
    asked.push([request.headers.authorization, request.headers["last-event-id"]]);
    response.writeHead(status, { "content-type": status === 200 ? "text/event-stream" : "application/json" });
    response.end(status === 200 ? "id: 8\ndata: {}\n\n" : "{}");
  });
  const browser = new Request("http://app.example", { headers: { "last-event-id": "7" } });
  const answerOf = async (huntId: string, worker = url) => {
    const response = await liveEvents({ url: worker, secret: "s" }, huntId, browser);
    return [response.status, response.headers.get("content-type"), await response.text()];
  };
  const comeAgain = [200, "text/event-stream", "retry: 2000\n\n"];
  expect(await answerOf("200")).toEqual([200, "text/event-stream", "id: 8\ndata: {}\n\n"]);
  expect(await answerOf("503")).toEqual(comeAgain);
  expect(await answerOf("500")).toEqual(comeAgain);
  expect((await answerOf("404"))[0]).toBe(404);
  expect(asked).toEqual(Array.from({ length: 4 }, () => ["Bearer s", "7"]));
  expect(await answerOf("200", "http://127.0.0.1:1")).toEqual(comeAgain);
});
