import { useState } from "preact/hooks";
import { axisTime, count, fullTime, STACK, STATES } from "./format.js";
import { el } from "./ui.js";

const WIDTH = 600;
const HEIGHT = 100;

/** A hunt's states over time, stacked. @param {{ timeline: import("../src/client/shapes.ts").HuntTimeline }} props */
export function Chart({ timeline }) {
  const { points, from, to } = timeline;
  const [chosen, setChosen] = useState(/** @type {number | undefined} */ (undefined));
  const most = Math.max(1, ...points.map(({ counts }) => STACK.reduce((sum, state) => sum + counts[state], 0)));
  const used = STACK.filter((state) => points.some(({ counts }) => counts[state] > 0));
  const x = (/** @type {number} */ i) => (WIDTH * (i + 1)) / points.length;
  const y = (/** @type {number} */ n) => HEIGHT - (HEIGHT * n) / most;

  const below = points.map(() => 0);
  const areas = used.map((state) => {
    const bottom = [...below];
    points.forEach(({ counts }, i) => (below[i] = (below[i] ?? 0) + counts[state]));
    // The first point is the end of the first slice: before it there is as much as at it.
    const line = (/** @type {number[]} */ values) => [
      `0,${y(values[0] ?? 0)}`,
      ...values.map((n, i) => `${x(i)},${y(n)}`),
    ];
    const path = `M${line(below).join("L")}L${line(bottom).toReversed().join("L")}Z`;
    return el("path", { key: state, class: `fill-${state}`, d: path });
  });

  const last = points.length - 1;
  const shown = points[Math.min(chosen ?? last, last)];
  const onPointer = (/** @type {PointerEvent} */ event) => {
    const box = /** @type {Element} */ (event.currentTarget).getBoundingClientRect();
    const place = Math.floor(((event.clientX - box.left) / box.width) * points.length);
    setChosen(Math.max(0, Math.min(last, place)));
  };
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -points.length, End: points.length }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    setChosen(Math.max(0, Math.min(last, (chosen ?? last) + step)));
  };
  const spanMs = Date.parse(to) - Date.parse(from);
  const words = STATES.filter((state) => (shown?.counts[state] ?? 0) > 0);
  return el(
    "figure",
    { class: "chart" },
    el(
      "div",
      {
        class: "plot",
        tabIndex: 0,
        role: "slider",
        "aria-label": "Moment of the hunt",
        "aria-valuemin": 0,
        "aria-valuemax": last,
        "aria-valuenow": chosen ?? last,
        "aria-valuetext":
          shown &&
          `${fullTime(shown.at)}: ${words.map((state) => `${count(shown.counts[state])} ${state}`).join(", ")}`,
        onPointerMove: onPointer,
        onPointerLeave: () => setChosen(undefined),
        onBlur: () => setChosen(undefined),
        onKeyDown,
      },
      el(
        "svg",
        { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
        areas,
        chosen !== undefined && el("line", { class: "cursor", x1: x(chosen), x2: x(chosen), y1: 0, y2: HEIGHT }),
      ),
    ),
    el(
      "div",
      { class: "axis dim", "aria-hidden": "true" },
      el("span", null, axisTime(from, spanMs)),
      el("span", null, axisTime(to, spanMs)),
    ),
    el(
      "figcaption",
      { class: chosen === undefined ? "is-hint" : "" },
      chosen === undefined || !shown
        ? el(
            "span",
            { class: "dim" },
            "Point at the chart, or move along it with the arrow keys, for the numbers of a moment.",
          )
        : [
            el("span", { class: "dim" }, axisTime(shown.at, spanMs)),
            words.map((state) =>
              el(
                "span",
                { key: state, class: "key" },
                el("i", { class: `swatch is-${state}` }),
                `${count(shown.counts[state])} ${state}`,
              ),
            ),
          ],
    ),
  );
}
