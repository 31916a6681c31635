import { createClient } from "@auto-prospect/worker/client";

/** For the server only: whoever has the secret may contact everybody. */
export const workerUrl = required("WORKER_URL");
export const workerSecret = required("WORKER_API_SECRET");
export const worker = createClient({ baseUrl: workerUrl, apiSecret: workerSecret });

export function required(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}
