import { randomUUID } from "node:crypto";
import type { AddressInfo } from "node:net";
import { Queue } from "bullmq";
import express from "express";
import { Redis } from "ioredis";
import { serveTask } from "../child.ts";

/** Express and BullMQ alone: a body is parsed and queued, nothing else is checked or kept. */
export interface BareApiTask {
  redisUrl: string;
  prefix: string;
}

await serveTask<BareApiTask>(async ({ redisUrl, prefix }) => {
  const connection = new Redis(redisUrl, { maxRetriesPerRequest: null });
  const app = express();
  app.use(express.json({ limit: "32mb" }));
  for (const [path, name] of [
    ["/api/phone/sms", "bare-sms"],
    ["/api/hunt/execute", "bare-hunt"],
  ] as const) {
    const queue = new Queue(name, { connection, prefix });
    app.post(path, async (request, response) => {
      const jobId = randomUUID();
      await queue.add(name, request.body as unknown, {
        jobId,
        attempts: 3,
        backoff: { type: "exponential", delay: 2000 },
      });
      response.status(202).json({ jobId });
    });
  }
  const port = await new Promise<number>((resolve) => {
    const server = app.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
  });
  return async () => ({ url: `http://127.0.0.1:${port}` });
});
