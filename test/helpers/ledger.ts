import { phone } from "./hunts.ts";
import { patiently } from "./patience.ts";
import { contact, type World } from "./service.ts";

/** Contacts of a hunt, each with a number of its own. */
export function contacts(count: number, first = 0): Record<string, unknown>[] {
  return Array.from({ length: count }, (_, i) => contact({ recipientPhone: phone(first + i) }));
}

export async function countsOf(world: World): Promise<Record<string, number>> {
  const { rows } = await world.sql.query("select status, count(*)::int as n from messages group by status");
  return Object.fromEntries(rows.map(({ status, n }: { status: string; n: number }) => [status, n]));
}

/** Waits until the ledger has so many messages and nothing is open in it; answers how many are in each state. */
export async function settled(world: World, total: number, timeoutMs?: number): Promise<Record<string, number>> {
  const ended = ({ queued = 0, sending = 0, ...rest }: Record<string, number>): boolean =>
    queued + sending === 0 && Object.values(rest).reduce((sum, n) => sum + n, 0) === total;
  return until(() => countsOf(world), ended, timeoutMs);
}

/** Reads until the value is as wished for. Unlike `expect.poll` it needs no test context, so concurrent tests share it. */
export async function until<T>(read: () => Promise<T>, wished: (value: T) => boolean, timeoutMs = 40_000): Promise<T> {
  const { value, isSo } = await patiently(read, wished, timeoutMs);
  if (!isSo) throw new Error(`not so within ${timeoutMs} ms; at last: ${JSON.stringify(value)}`);
  return value;
}

export async function statusOf(world: World, messageId: string): Promise<string> {
  const { rows } = await world.sql.query("select status from messages where id = $1", [messageId]);
  return (rows[0] as { status: string } | undefined)?.status ?? "missing";
}

/** Who was texted more than once. */
export function twice(accepted: readonly { to: string }[]): string[] {
  const seen = new Set<string>();
  return accepted.map(({ to }) => to).filter((to) => seen.has(to) || !seen.add(to));
}
