import type { Frame } from "./flame.ts";

const WIDTH = 1200;
const ROW = 17;
/** A letter is so wide, about. */
const LETTER = 6.6;
/** What would be narrower is left out. */
const LEAST = 0.5;

/** A flame graph from top to bottom; each box tells its name and its part of all when it is pointed at. */
export function flameSvg(top: Frame, title: string): string {
  const boxes: string[] = [];
  let depth = 0;
  const draw = (frame: Frame, x: number, row: number): void => {
    const width = (frame.total / top.total) * WIDTH;
    if (width < LEAST) return;
    depth = Math.max(depth, row);
    const percent = ((100 * frame.total) / top.total).toFixed(1);
    const letters = Math.floor((width - 4) / LETTER);
    const text =
      letters < 3
        ? ""
        : `<text x="${(x + 2).toFixed(1)}" y="${row * ROW + 12}">${escaped(frame.name.slice(0, letters))}</text>`;
    boxes.push(
      `<g><title>${escaped(frame.name)}: ${percent} %</title><rect x="${x.toFixed(1)}" y="${row * ROW}" width="${width.toFixed(1)}" height="${ROW - 1}" fill="hsl(${hueOf(frame.area)} 60% 75%)"/>${text}</g>`,
    );
    let at = x;
    for (const child of frame.children.toSorted((a, b) => b.total - a.total)) {
      draw(child, at, row + 1);
      at += (child.total / top.total) * WIDTH;
    }
  };
  draw({ ...top, name: title }, 0, 0);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${(depth + 1) * ROW}" font-family="monospace" font-size="11">`,
    ...boxes,
    "</svg>\n",
  ].join("\n");
}

/** Of an area the same everywhere. */
function hueOf(area: string): number {
  return Buffer.from(area).reduce((hue, byte) => (hue * 31 + byte) % 360, 7);
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
