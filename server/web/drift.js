/**
 * Drift: how far what the model is asked about has moved from what it was trained on.
 * @module
 */
import { call } from "./call.js";
import { count, html, table } from "./elements.js";

/** Population stability index, by the usual rule of thumb. */
const LEVELS = [
  [0.1, "as in training"],
  [0.25, "somewhat moved"],
  [Number.POSITIVE_INFINITY, "moved"],
];

/** Shows the model's drift in `main`; nothing where the service has none. */
export async function showDrift(main, signal) {
  const part = main.querySelector("#drift");
  try {
    const response = await call(`/api/models/${encodeURIComponent(main.dataset.model)}/drift`, { signal });
    const { rows, min_rows: fewest, window_s: seconds, features, answer } = await response.json();
    const window = seconds ? ` of the last ${span(seconds)}` : "";
    main.querySelector("#drift-said").textContent =
      `The ${count(rows)} rows${window} beside those of the training, by the population stability index${
        rows < fewest ? `, which ${count(fewest)} rows are needed for` : ""
      }.`;
    const all = [...Object.entries(features ?? {}), ...(answer ? [["the answer", answer]] : [])];
    const lines = all.map(([name, each]) => [name.replaceAll("_", " "), told(each.psi), word(each.psi)]);
    const shown = table("Drift by feature", ["", "index", ""], lines);
    shown.querySelector("thead").replaceWith(heads());
    main.querySelector("#drift-table").replaceChildren(shown);
    part.hidden = false;
  } catch (error) {
    if (error.name !== "AbortError") part.hidden = true;
  }
}

function heads() {
  const names = ["feature", "index", "which is"];
  return html("thead", {}, html("tr", {}, ...names.map((name) => html("th", { scope: "col" }, name))));
}

function told(psi) {
  return typeof psi === "number" ? psi.toFixed(3) : "–";
}

function word(psi) {
  return typeof psi === "number" ? LEVELS.find(([end]) => psi < end)[1] : "too few rows to say";
}

function span(seconds) {
  const units = [
    ["day", 86_400],
    ["hour", 3_600],
    ["minute", 60],
    ["second", 1],
  ];
  const [name, length] = units.find(([, each]) => seconds >= each) ?? units.at(-1);
  const many = Math.round(seconds / length);
  return many === 1 ? name : `${count(many)} ${name}s`;
}
