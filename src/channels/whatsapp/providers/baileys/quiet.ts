/** What libsignal prints, some of it with session keys: it knows no logger (libsignal/src/session_record.js and others). */
const LIBSIGNAL =
  /^(Closing|Opening|Removing old closed|Migrating) session|^Session (already|error)|^Clos(ing|e) (stale )?open session|^Decrypted message with closed|^Failed to decrypt message with any|^V1 session storage|^Unhandled bucket type|^WARNING: Expected pubkey/;

let quiet = false;

/** Keeps what libsignal prints off the console, for good; everything else goes through. */
export function quietLibsignal(console: Pick<Console, "info" | "warn" | "error" | "log">): void {
  if (quiet) return;
  quiet = true;
  for (const level of ["info", "warn", "error", "log"] as const) {
    const print = console[level].bind(console);
    console[level] = (...items: unknown[]) => {
      if (typeof items[0] !== "string" || !LIBSIGNAL.test(items[0])) print(...items);
    };
  }
}
