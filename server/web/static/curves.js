/**
 * What-if curves: the prediction over the range of each numeric feature, with all other features as in the form.
 * One request fetches all curves.
 * @module
 */
import { post } from "./call.js";
import { html, number, percent, short, svg, table } from "./elements.js";
import { written } from "./form.js";

const STEPS = 60; // at most, for each curve
/** These rows are hypothetical, so the server must not count them as drift. */
const SUPPOSED = { "lifeboat-drift": "none" };
const WIDTH = 260; // about the displayed width, so that the text keeps its size
const HEIGHT = 150;
const EDGE = { left: 46, right: 10, top: 10, bottom: 24 };

/** Draws the curves of a record in `main`. Throws AbortError if `signal` is aborted, and the errors of `post()`. */
export async function showCurves(main, form, { record, answer }, signal) {
  const { root, kind, target, positive } = main.dataset;
  const fields = form.fields.filter((field) => field.range);
  if (fields.length === 0) return;
  const axes = fields.map((field) => points(field, record.get(field.name)));
  const records = fields.flatMap((field, place) =>
    axes[place].map((x) => written(new Map([...record, [field.name, JSON.stringify(x)]]))),
  );
  const told = await post(`${root}/predict`, `{"records":[${records.join(",")}]}`, signal, SUPPOSED);
  const label = kind === "regression" ? undefined : positive || answer.label;
  const read = (each) => (label === undefined ? each.value : each.probabilities[label]);
  const what = label === undefined ? target : `probability of ${label}`;
  const values = told.predictions.map(read);
  const scale = label === undefined ? around(values) : [0, 1];
  main.querySelector("#curves-said").textContent =
    `The ${what} over the range of each number, with all other values as above. The dot is the current prediction.`;
  let begin = 0;
  const figures = fields.map((field, place) => {
    const xs = axes[place];
    const ys = values.slice(begin, begin + xs.length);
    begin += xs.length;
    const now = record.get(field.name);
    const here = now === undefined || now === "null" ? undefined : Number(now);
    return figure({ name: field.name, xs, ys, here, now: read(answer), what, scale, isShare: label !== undefined });
  });
  keepOpen(main.querySelector("#curves-drawn"), figures);
  main.querySelector("#curves").hidden = false;
}

/** Returns the values at which a curve is computed: both ends, round numbers between them, and the current value. */
function points(field, json) {
  let [low, high] = field.range;
  const here = json === undefined || json === "null" ? undefined : Number(json);
  if (here !== undefined && Number.isFinite(here)) {
    low = Math.min(low, here);
    high = Math.max(high, here);
  }
  const step = roundStep((high - low) / STEPS, field.isWhole);
  const xs = new Set([low, high, here ?? low]);
  for (let place = Math.ceil(low / step); place * step < high; place += 1) {
    xs.add(Number((place * step).toPrecision(12)));
  }
  const isSent = (x) => !field.isWhole || Number.isSafeInteger(x);
  return [...xs].filter(isSent).sort((a, b) => a - b);
}

/** Returns the smallest step that is at least `least`, and is 1, 2 or 5 times a power of ten. */
function roundStep(least, isWhole) {
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((times) => times * power).find((each) => each >= least * 0.999) ?? 1;
  return isWhole ? Math.max(1, step) : step;
}

function around(values) {
  const [low, high] = ends(values);
  const edge = (high - low || Math.abs(high) || 1) * 0.05;
  return [low - edge, high + edge];
}

function figure(curve) {
  const { name, xs, ys, what, isShare } = curve;
  const told = isShare ? percent : number;
  const words = name.replaceAll("_", " ");
  const rows = xs.map((x, place) => [number(x), told(ys[place])]);
  const numbers = html("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": `${words} as numbers` });
  numbers.append(table(`${what}, by ${words}`, [words, what], rows));
  const details = html("details", { "data-of": name }, html("summary", {}, `${words} as numbers`), numbers);
  return html("figure", {}, html("figcaption", {}, words), drawn(curve, told, words), details);
}

function drawn({ xs, ys, here, now, what, scale }, told, words) {
  const x = along(xs[0], xs.at(-1), EDGE.left, WIDTH - EDGE.right);
  const y = along(scale[0], scale[1], HEIGHT - EDGE.bottom, EDGE.top);
  const [low, high] = ends(ys);
  const mark = here === undefined ? "now unknown" : `now ${number(here)}`;
  const said = `${what} by ${words}, from ${number(xs[0])} to ${number(xs.at(-1))}: lowest ${told(low)} at ${number(
    xs[ys.indexOf(low)],
  )}, highest ${told(high)} at ${number(xs[ys.indexOf(high)])}; ${mark}, ${told(now)}`;
  const isGap = (place) => (ys[place] ?? null) === null;
  const line = xs
    .map((each, at) => (isGap(at) ? "" : `${isGap(at - 1) ? "M" : "L"}${x(each).toFixed(1)},${y(ys[at]).toFixed(1)}`))
    .join("");
  const [left, right] = [EDGE.left, WIDTH - EDGE.right];
  const level = (value) => svg("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) });
  const levels = [scale[0], (scale[0] + scale[1]) / 2, scale[1]];
  const texts = levels.map((value) =>
    svg(
      "text",
      { x: left - 6, y: y(value) + 4, "text-anchor": "end" },
      told === percent ? `${value * 100}%` : short(value),
    ),
  );
  const range = [
    svg("text", { x: left, y: HEIGHT - 6 }, short(xs[0])),
    svg("text", { x: right, y: HEIGHT - 6, "text-anchor": "end" }, short(xs.at(-1))),
  ];
  const point =
    here === undefined
      ? svg("line", { class: "unknown", x1: left, x2: right, y1: y(now), y2: y(now) })
      : svg("circle", { class: "here", cx: x(here), cy: y(now), r: 5 });
  return svg(
    "svg",
    { role: "img", "aria-label": said, viewBox: `0 0 ${WIDTH} ${HEIGHT}` },
    ...levels.map(level),
    ...texts,
    ...range,
    svg("path", { class: "curve", d: line }),
    now === null ? "" : point,
  );
}

/** Returns the lowest and the highest value, without nulls; [0, 0] if there are only nulls. */
function ends(values) {
  const known = values.filter((each) => each !== null);
  return known.length ? [Math.min(...known), Math.max(...known)] : [0, 0];
}

function along(low, high, from, to) {
  return (value) => from + ((to - from) * (value - low)) / (high - low || 1);
}

/** Replaces the figures; open tables stay open, and the focus stays where it is. */
function keepOpen(place, figures) {
  const key = (details) => details?.dataset.of;
  const open = new Set([...place.querySelectorAll("details[open]")].map(key));
  for (const each of figures) {
    const details = each.querySelector("details");
    details.open = open.has(key(details));
  }
  const old = document.activeElement;
  const focused = place.contains(old) ? [key(old.closest("details")), old.tagName === "SUMMARY"] : undefined;
  place.replaceChildren(...figures);
  if (focused === undefined) return;
  const details = figures.map((each) => each.querySelector("details")).find((each) => key(each) === focused[0]);
  details?.querySelector(focused[1] ? "summary" : ".scroll").focus();
}
