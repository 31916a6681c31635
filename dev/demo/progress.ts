import type { HuntStatus, MessageStatus } from "../../src/client.ts";
import type { Screen } from "./screen.ts";

const MAX_BAR_WIDTH = 30;
/** Where nobody watches a bar move, lines are for a log: at most one in so long, milliseconds. */
const LINE_EVERY_MS = 500;

const SHOWN: readonly MessageStatus[] = ["sent", "delivered", "read", "failed", "skipped", "unknown"];

/** Shows how far a hunt is: a bar on a terminal, elsewhere a line when something has changed. */
export interface Progress {
  show(status: HuntStatus): void;
  /** Shows the last state, whenever the last line was. */
  end(): void;
}

export function createProgress(screen: Screen): Progress {
  let shownAt = -Infinity;
  let shown = "";
  let latest: HuntStatus | undefined;

  const draw = (status: HuntStatus): void => {
    const words = wordsOf(status);
    const text = screen.isTerminal ? `  ${barOf(status, screen, words.length)}${words}` : `  ${words}`;
    if (text === shown) return;
    if (screen.isTerminal) screen.redraw(text);
    else screen.line(text);
    shown = text;
    shownAt = performance.now();
  };
  return {
    show(status) {
      latest = status;
      if (screen.isTerminal || performance.now() - shownAt >= LINE_EVERY_MS) draw(status);
    },
    end() {
      if (latest) draw(latest);
      screen.keep();
    },
  };
}

/** Messages that no worker has to touch any more; of those, `sent` still wait for their receipt. */
function doneOf({ total, counts }: HuntStatus): number {
  return total - counts.queued - counts.sending;
}

/** Takes what room the words leave: a line that wraps cannot be drawn over. */
function barOf(status: HuntStatus, screen: Screen, wordsLength: number): string {
  const width = Math.min(MAX_BAR_WIDTH, screen.columns - wordsLength - 5);
  if (width < 5) return "";
  const filled = status.total === 0 ? 0 : Math.round((doneOf(status) / status.total) * width);
  return `${screen.paint("green", "█".repeat(filled))}${screen.paint("dim", "░".repeat(width - filled))}  `;
}

function wordsOf(status: HuntStatus): string {
  const done = String(doneOf(status)).padStart(String(status.total).length);
  const words = SHOWN.filter((name) => status.counts[name] > 0).map((name) => `${status.counts[name]} ${name}`);
  return [`${done}/${status.total}`, words.join(", ")].filter(Boolean).join("  ");
}
