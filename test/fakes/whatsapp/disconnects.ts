import { el } from "./nodes.ts";
import type { Account } from "./world.ts";

/**
 * How a session's connection ends; the number is the status code that Baileys reports.
 *
 * 401 also unlinks the device. 408 takes as long as the client's keep-alive: the server falls silent. 428 is an end
 * without a word.
 */
export type DisconnectCode = 401 | 402 | 403 | 405 | 406 | 408 | 411 | 428 | 440 | 500 | 503 | 515;

/** Ends the connection of an account; throws when it has none. */
export function disconnect(account: Account, code: DisconnectCode): void {
  const { connection, person } = account;
  if (connection === undefined) throw new Error(`${person.phone} is not connected`);
  switch (code) {
    case 401:
      return unpair(account);
    case 402:
    case 403:
    case 405:
    case 406:
      return connection.failure(code);
    case 408:
      connection.frozen = true;
      return;
    case 411:
      return connection.closeWith(el("ib", {}, [el("downgrade_webclient")]));
    case 428:
      return connection.destroy();
    case 440:
      return connection.streamError(undefined, el("conflict", { type: "replaced" }));
    case 500:
    case 503:
    case 515:
      return connection.streamError(code);
  }
}

/** The owner of an account unlinks its device, connected or not. */
export function unpair(account: Account): void {
  account.companion = undefined;
  account.connection?.streamError(401, el("conflict", { type: "device_removed" }));
}
