import type { WASocket, WAVersion } from "@whiskeysockets/baileys";
import type { Clock } from "../../../../core/clock.ts";
import type { AuthState } from "./auth-state.ts";
import type { Closing } from "./close-codes.ts";
import { NAME } from "./environment.ts";
import { listenIncoming } from "./inbound-events.ts";
import type { Line } from "./line.ts";
import { storeReceiptsFirst } from "./receipts.ts";
import { takeReply, type RepliesPorts } from "./replies.ts";
import type { SentMessages } from "./sent-messages.ts";
import { openSocket } from "./socket.ts";

export interface ConnectionPorts extends RepliesPorts {
  auth: AuthState;
  version: WAVersion | undefined;
  line: Line;
  sent: SentMessages;
  clock: Clock;
  /** Of the session's end here. */
  signal: AbortSignal;
  onQr(sock: WASocket, qr: string): void;
  onPaired(): void;
  /** untilMs undefined: WhatsApp does not say until when. */
  onRestriction(restriction: { isActive: boolean; untilMs: number | undefined }): void;
  onOpen(sock: WASocket): void;
}

/** Connects a session, and takes in what comes, until that connection ends. */
export function connect(ports: ConnectionPorts): Promise<{ closing: Closing; wasOpen: boolean }> {
  const { env, auth, version, line, sent, inbound, clock, log, signal } = ports;
  return new Promise((resolve) => {
    let wasOpen = false;
    const sock = openSocket({
      url: env.WHATSAPP_WS_URL,
      version,
      auth,
      log,
      getMessage: async (id) => (await sent.find(id))?.message,
      onQr: (qr) => ports.onQr(sock, qr),
      onPaired: () => ports.onPaired(),
      onRestriction: ({ isActive, timeEnforcementEnds }) =>
        ports.onRestriction({ isActive: isActive === true, untilMs: timeEnforcementEnds?.getTime() }),
      onOpen: () => {
        wasOpen = true;
        ports.onOpen(sock);
      },
      onClosing: () => line.closed(),
      onClose: (closing) => {
        line.closed();
        resolve({ closing, wasOpen });
      },
    });
    line.connecting(sock);
    listenIncoming(sock, (incoming) => void takeReply(incoming, sock, ports));
    storeReceiptsFirst(sock, async (statuses) => {
      const at = clock.now();
      const stored = statuses.map(({ id, status }) =>
        inbound.receipt({ provider: NAME, providerMessageId: id, status, at }),
      );
      return (await Promise.all(stored)).every(Boolean);
    });
    if (signal.aborted) void sock.end(undefined);
  });
}
