/**
 * Show drift: how much the distribution of requests differs from the training data.
 * @module
 */
import { call } from "./call.js";
import { count, rowsOf, table } from "./elements.js";

/** Levels of the population stability index, by the usual rule of thumb. */
const LEVELS = [
  [0.1, "no drift"],
  [0.25, "some drift"],
  [Number.POSITIVE_INFINITY, "strong drift"],
];

/** Shows the model's drift in `main`, or nothing if the service does not measure drift. */
export async function showDrift(main, signal) {
  const part = main.querySelector("#drift");
  if (!("compared" in main.dataset)) return;
  try {
    const response = await call(`/api/models/${encodeURIComponent(main.dataset.model)}/drift`, { signal });
    const { rows, min_rows: fewest, window_s: seconds, features, answer } = await response.json();
    const said = main.querySelector("#drift-said");
    const window = seconds ? ` in the last ${span(seconds)}` : "";
    part.hidden = false;
    if (rows < fewest) {
      said.textContent = `${rowsOf(rows)}${window} so far; a comparison with the training data needs at least ${count(fewest)}.`;
      return;
    }
    said.textContent = `${rowsOf(rows)}${window}, compared with the training data by the population stability index.`;
    const all = [...Object.entries(features), ["prediction", answer]];
    const lines = all.map(([name, each]) => [name.replaceAll("_", " "), told(each.psi), word(each.psi)]);
    const shown = table("Drift by feature", ["feature", "index", "drift"], lines);
    main.querySelector("#drift-table").replaceChildren(shown);
  } catch (error) {
    if (error.name !== "AbortError") part.hidden = true;
  }
}

function told(psi) {
  return typeof psi === "number" ? psi.toFixed(3) : "–";
}

function word(psi) {
  return typeof psi === "number" ? LEVELS.find(([end]) => psi < end)[1] : "too few rows";
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
