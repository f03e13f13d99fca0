/**
 * Histogram of a file's predictions: probabilities in twenty bins, values in bins that widen, classes by count.
 * @module
 */
import { bar, count, html, number, percent, short, svg, table } from "./elements.js";

const BINS = 20;
const WIDTH = 600;
const HEIGHT = 150;
const BOTTOM = 22;

/** Counts of predictions; its memory does not grow with the number of rows. */
export class Histogram {
  constructor(kind, what) {
    this.kind = kind;
    this.what = what;
    this.names = new Map();
    this.counts = new Array(BINS).fill(0);
    this.low = 0;
    this.width = kind === "binary" ? 1 / BINS : undefined;
  }

  /** Counts one prediction, given as the text in the file. */
  add(text) {
    if (this.kind === "multiclass") this.names.set(text, (this.names.get(text) ?? 0) + 1);
    else if (this.kind === "binary") this.counts[Math.min(BINS - 1, Math.floor(Number(text) * BINS))] += 1;
    else this.spread(Number(text));
  }

  /** Returns the label and the count of each bar. */
  bars() {
    if (this.kind === "multiclass") return [...this.names].sort(([a], [b]) => (a < b ? -1 : 1));
    if (this.width === undefined) return [];
    const told = this.kind === "binary" ? percent : number;
    const end = (place) => told(this.low + place * this.width);
    return this.counts.map((each, place) => [`${end(place)} to ${end(place + 1)}`, each]);
  }

  /** Counts a value; while it is outside the bins, doubles their width, and extends them on the side of the value. */
  spread(value) {
    if (!Number.isFinite(value)) return;
    if (this.width === undefined) {
      this.width = Math.max(Math.abs(value) / 100, 1e-9);
      this.low = value - (BINS / 2) * this.width;
    }
    while (value < this.low || value >= this.low + BINS * this.width) {
      const pairs = Array.from({ length: BINS / 2 }, (_, at) => this.counts[2 * at] + this.counts[2 * at + 1]);
      const empty = new Array(BINS / 2).fill(0);
      const isBelow = value < this.low;
      if (isBelow) this.low -= BINS * this.width;
      this.counts = isBelow ? [...empty, ...pairs] : [...pairs, ...empty];
      this.width *= 2;
    }
    this.counts[Math.min(BINS - 1, Math.floor((value - this.low) / this.width))] += 1;
  }

  /** Returns a figure with the chart and a table of the same numbers. */
  figure() {
    const bars = this.bars();
    const most = Math.max(1, ...bars.map(([, each]) => each));
    const picture = this.kind === "multiclass" ? classes(bars, most) : this.drawn(bars, most);
    const rows = bars.map(([name, each]) => [name, count(each)]);
    const numbers = html("details", {}, html("summary", {}, "Predictions as numbers"));
    numbers.append(table(`Rows by ${this.what}`, [this.what, "rows"], rows));
    return html("figure", {}, html("figcaption", {}, `Rows by ${this.what}`), picture, numbers);
  }

  drawn(bars, most) {
    const step = WIDTH / BINS;
    const rects = bars.map(([, each], place) => {
      const height = ((HEIGHT - BOTTOM) * each) / most;
      return svg("rect", { x: place * step + 1, y: HEIGHT - BOTTOM - height, width: step - 2, height });
    });
    const told = this.kind === "binary" ? percent : short;
    const tallest = bars.find(([, each]) => each === most)?.[0] ?? "";
    const said = `Number of rows by ${this.what}; most rows, ${count(most)}, are in ${tallest}`;
    return svg(
      "svg",
      { role: "img", "aria-label": said, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "histogram" },
      ...rects,
      svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }),
      svg("text", { x: 0, y: HEIGHT - 6 }, told(this.low)),
      svg("text", { x: WIDTH, y: HEIGHT - 6, "text-anchor": "end" }, told(this.low + BINS * (this.width ?? 0))),
    );
  }
}

/** Returns a bar for each class, the most frequent first. HTML, because it wraps long class names. */
function classes(bars, most) {
  const sorted = [...bars].sort(([, a], [, b]) => b - a);
  return html("dl", { class: "shares" }, ...sorted.map(([name, each]) => bar(name, each / most, count(each), true)));
}
