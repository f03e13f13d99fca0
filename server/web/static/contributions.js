/**
 * Feature contributions: from the average prediction to this record's prediction, one step for each feature.
 * @module
 */
import { post } from "./call.js";
import { change, html, number, percent, svg } from "./elements.js";
import { written } from "./form.js";

/** Shows the feature contributions to a record's prediction in `main`. Throws AbortError if `signal` is aborted. */
export async function showMoved(main, { record, answer }, signal) {
  const { root, kind, positive } = main.dataset;
  const place = main.querySelector("#moved");
  const said = main.querySelector("#moved-said");
  const bars = main.querySelector("#moved-bars");
  place.hidden = !("explained" in main.dataset);
  if (place.hidden) return;
  try {
    const told = await post(`${root}/explain`, written(record), signal);
    const steps = stepsOf(told, kind === "multiclass" ? answer.label : undefined);
    const isShare = kind !== "regression";
    const what = kind === "regression" ? main.dataset.target : `the probability of ${positive || answer.label}`;
    said.textContent = `Contribution of each value to ${what}, relative to the average over a sample of the training data.`;
    bars.replaceChildren(drawn(steps, record, isShare));
  } catch (error) {
    if (error.name === "AbortError") throw error;
    said.textContent = error.status === 404 ? "This service does not support explanations." : error.message;
    bars.replaceChildren();
  }
}

function stepsOf({ base, contributions }, label) {
  const own = label === undefined ? contributions : contributions[label];
  const first = label === undefined ? base : base[label];
  const sorted = Object.entries(own).sort(([, a], [, b]) => Math.abs(b) - Math.abs(a));
  let at = first;
  const steps = sorted.map(([name, by]) => {
    const from = at;
    at += by;
    return { name, by, from, to: at };
  });
  return { base: first, steps, end: at };
}

function drawn({ base, steps, end }, record, isShare) {
  const ends = [base, end, ...steps.flatMap(({ from, to }) => [from, to])];
  const low = isShare ? Math.min(0, ...ends) : Math.min(...ends);
  const high = isShare ? Math.max(1, ...ends) : Math.max(...ends);
  const place = (value) => `${(100 * (value - low)) / (high - low || 1)}%`;
  const width = (from, to) => `${(100 * Math.abs(to - from)) / (high - low || 1)}%`;
  const told = isShare ? percent : number;
  const line = (name, value, text, kind, from, to) =>
    html(
      "tr",
      {},
      html("th", { scope: "row" }, name, value === undefined ? "" : html("span", {}, ` ${value}`)),
      html("td", { class: "track", "aria-hidden": "true" }, track(kind, place(Math.min(from, to)), width(from, to))),
      html("td", {}, text),
    );
  const rows = steps.map(({ name, by, from, to }) =>
    line(words(name), shown(record.get(name)), change(by, isShare), by < 0 ? "down" : "up", from, to),
  );
  const body = html(
    "tbody",
    {},
    line("average", undefined, told(base), "whole", low, base),
    ...rows,
    line("this prediction", undefined, told(end), "whole", low, end),
  );
  return html("table", { class: "moved" }, html("caption", { class: "unseen" }, "Feature contributions"), body);
}

function track(kind, x, width) {
  return svg(
    "svg",
    { class: kind, width: "100%", height: "14" },
    svg("rect", { x, y: "1", width, height: "12", rx: "2" }),
  );
}

function words(name) {
  return name.replaceAll("_", " ");
}

function shown(json) {
  if (json === undefined || json === "null") return "unknown";
  return json.startsWith('"') ? JSON.parse(json) : json;
}
