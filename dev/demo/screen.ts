import { styleText } from "node:util";

type Style = "bold" | "dim" | "green" | "red" | "yellow" | "cyan";

/** Where the demo writes for people: plain lines, on a terminal with modest colour and one line that is drawn again. */
export interface Screen {
  readonly isTerminal: boolean;
  /** Of the terminal now; 100 elsewhere. */
  readonly columns: number;
  /** Coloured on a terminal, unless NO_COLOR is set (https://no-color.org). */
  paint(style: Style, text: string): string;
  line(text?: string): void;
  /** Draws a line over the last one that was drawn so; only on a terminal. */
  redraw(text: string): void;
  /** Leaves what was drawn last as a line. */
  keep(): void;
}

export function createScreen(stream: NodeJS.WriteStream): Screen {
  const isTerminal = stream.isTTY;
  const colours = isTerminal && !process.env["NO_COLOR"];
  let drawn = false;
  const keep = (): void => {
    if (drawn) stream.write("\n");
    drawn = false;
  };
  return {
    isTerminal,
    get columns() {
      return stream.columns || 100;
    },
    paint: (style, text) => (colours ? styleText(style, text, { validateStream: false }) : text),
    line(text = "") {
      keep();
      stream.write(`${text}\n`);
    },
    redraw(text) {
      stream.write(`\r\u001b[2K${text}`);
      drawn = true;
    },
    keep,
  };
}
