/**
 * How a file's answers spread: shares in twenty bins, values in bins that widen as they come, classes counted.
 * @module
 */
import { count, html, number, percent, svg, table } from "./elements.js";

const BINS = 20;
const WIDTH = 600;
const HEIGHT = 150;
const BOTTOM = 22;

/** Counts of answers; bounded however many come. */
export class Histogram {
  constructor(kind, what) {
    this.kind = kind;
    this.what = what;
    this.names = new Map();
    this.counts = new Array(BINS).fill(0);
    this.low = 0;
    this.width = kind === "binary" ? 1 / BINS : undefined;
  }

  /** Counts one answer, as it stands in the file. */
  add(text) {
    if (this.kind === "multiclass") this.names.set(text, (this.names.get(text) ?? 0) + 1);
    else if (this.kind === "binary") this.counts[Math.min(BINS - 1, Math.floor(Number(text) * BINS))] += 1;
    else this.spread(Number(text));
  }

  /** Returns bars: the words of each and its count. */
  bars() {
    if (this.kind === "multiclass") return [...this.names].sort(([a], [b]) => (a < b ? -1 : 1));
    if (this.width === undefined) return [];
    const told = this.kind === "binary" ? percent : number;
    const end = (place) => told(this.low + place * this.width);
    return this.counts.map((each, place) => [`${end(place)} to ${end(place + 1)}`, each]);
  }

  /** Counts a value of no known range: twice as wide bins, on the side where it lies, until it is in one. */
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

  /** Returns the figure: the drawing, and the same as a table. */
  figure() {
    const bars = this.bars();
    const most = Math.max(1, ...bars.map(([, each]) => each));
    const step = WIDTH / Math.max(1, bars.length);
    const drawn = bars.map(([, each], place) => {
      const height = ((HEIGHT - BOTTOM) * each) / most;
      const at = { x: place * step + 1, y: HEIGHT - BOTTOM - height, width: Math.max(1, step - 2), height };
      return svg("rect", at);
    });
    const [first] = bars.at(0) ?? [""];
    const [last] = bars.at(-1) ?? [""];
    const isClasses = this.kind === "multiclass";
    const texts = isClasses
      ? bars.map(([name], place) =>
          svg("text", { x: (place + 0.5) * step, y: HEIGHT - 6, "text-anchor": "middle" }, name),
        )
      : [
          svg("text", { x: 0, y: HEIGHT - 6 }, first.split(" to ")[0]),
          svg("text", { x: WIDTH, y: HEIGHT - 6, "text-anchor": "end" }, last.split(" to ")[1] ?? ""),
        ];
    const tallest = bars.find(([, each]) => each === most)?.[0] ?? "";
    const said = `How many rows have which ${this.what}; most, ${count(most)}, ${isClasses ? "are" : "lie in"} ${tallest}`;
    const picture = svg(
      "svg",
      { role: "img", "aria-label": said, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "histogram" },
      ...drawn,
      svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }),
      ...texts,
    );
    const rows = bars.map(([name, each]) => [name, count(each)]);
    const numbers = html("details", {}, html("summary", {}, "The answers as numbers"));
    numbers.append(table(`Rows by ${this.what}`, [this.what, "rows"], rows));
    return html("figure", {}, html("figcaption", {}, `Rows by ${this.what}`), picture, numbers);
  }
}
