import { randomUUID } from "node:crypto";
import { expect } from "vitest";
import { patiently } from "./patience.ts";
import type { Answer, TestService } from "./service.ts";

export interface Accepted {
  jobId: string;
  huntId: string;
  accepted: number;
}

export function huntId(): string {
  return `hunt_${randomUUID()}`;
}

/** Submits a hunt that is to be accepted. */
export async function submit(
  service: TestService,
  hunt: Record<string, unknown>,
  headers: Record<string, string> = {},
): Promise<Accepted> {
  const answer = await service.post("/api/hunt/execute", { huntId: huntId(), ...hunt }, headers);
  expect(answer).toMatchObject({ status: 202 });
  return answer.body as Accepted;
}

export async function statusOf(service: TestService, jobId: string): Promise<Answer["body"]> {
  return (await service.get(`/api/hunt/status/${jobId}`)).body;
}

/** Waits until nothing of the hunt is queued or being sent any more; answers its status. */
export async function finished(service: TestService, jobId: string): Promise<Answer["body"]> {
  const { value } = await patiently(
    () => statusOf(service, jobId),
    ({ state }) => state === "finished",
    25_000,
  );
  expect(value).toMatchObject({ state: "finished" });
  return value;
}

/** Submits a hunt and waits for its end. */
export async function run(service: TestService, hunt: Record<string, unknown>): Promise<Accepted> {
  const accepted = await submit(service, hunt);
  await finished(service, accepted.jobId);
  return accepted;
}

/** The first thousand contacts of a hunt, in the order of planning. */
export async function messagesOf(service: TestService, hunt: string): Promise<Answer["body"][]> {
  const { body } = await service.get(`/api/hunt/${encodeURIComponent(hunt)}/messages?limit=1000`);
  return body.messages;
}

/** A single message as the API shows it. */
export async function messageOf(service: TestService, messageId: string): Promise<Answer["body"]> {
  return (await service.get(`/api/messages/${messageId}`)).body;
}

export async function settles(service: TestService, messageId: string, status: string): Promise<Answer["body"]> {
  const { value } = await patiently(
    () => messageOf(service, messageId),
    (message) => message.status === status,
    15_000,
  );
  expect(value).toMatchObject({ status });
  return value;
}

/** A French mobile number of its own for each `n` below 10,000, outside the sandbox's magic ones (0001 to 0006). */
export function phone(n: number): string {
  return `+3361${String(200_000 + n).padStart(6, "0")}7`;
}
