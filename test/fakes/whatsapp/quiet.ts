/** The openings of what libsignal prints; with several of them it prints the keys of a session. */
const NOISE = [
  "Closing session:",
  "Opening session:",
  "Removing old closed session:",
  "Session already",
  "Closing open session in favor of incoming prekey bundle",
  "Failed to decrypt message with any known session",
  "Session error:",
  "Decrypted message with closed session",
  "Migrating session to:",
];

let quiet = false;

/** Drops libsignal's own lines, and nothing else, from the console of this process; calling it again does nothing. */
export function quietLibsignal(): void {
  if (quiet) return;
  quiet = true;
  const { console: target } = globalThis;
  for (const level of ["info", "warn", "error"] as const) {
    const print = target[level].bind(target);
    target[level] = (...lines: unknown[]) => {
      const [first] = lines;
      if (typeof first !== "string" || !NOISE.some((opening) => first.startsWith(opening))) print(...lines);
    };
  }
}

/** A logger in Baileys' sense that says nothing. */
export const silentLogger = {
  level: "silent",
  child: () => silentLogger,
  trace: () => {},
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
};
