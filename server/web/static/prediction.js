/**
 * Show the prediction for the form's values while the user types; older responses are dropped.
 * @module
 */

import { post } from "./call.js";
import { bar, html, number, percent } from "./elements.js";
import { written } from "./form.js";

const SLOW_MS = 400;
/** With more classes than this, the most likely come first, and the others are in a details element. */
const MAX_SHARES = 6;

/** Requests a prediction for the form, and shows it in `main`. */
export class Answer {
  constructor(main, form) {
    this.model = main.dataset;
    this.form = form;
    this.place = main.querySelector("#answer");
    this.said = main.querySelector("#said");
  }

  /**
   * Requests a prediction for the form's current values, and aborts the previous request.
   * Returns the record and its prediction; undefined after an error, or if a newer request replaced this one.
   */
  async ask() {
    this.asking?.abort();
    const asking = new AbortController();
    this.asking = asking;
    this.retryAfterS = undefined;
    const wrong = this.form.clear();
    if (wrong) return this.refuse({ message: `${wrong.name}: expected a number`, field: wrong.name });
    const record = this.form.record();
    this.place.setAttribute("aria-busy", "true");
    const slow = setTimeout(() => this.wait(), SLOW_MS);
    try {
      const answer = await post(`${this.model.root}/predict`, written(record), asking.signal);
      if (asking.signal.aborted) return undefined;
      this.show(answer);
      return { record, answer };
    } catch (error) {
      if (asking.signal.aborted) return undefined;
      return this.refuse(error);
    } finally {
      clearTimeout(slow);
      if (!asking.signal.aborted) this.place.removeAttribute("aria-busy");
    }
  }

  /** Marks the shown prediction as outdated while a response is pending. */
  wait() {
    this.said.textContent = "Waiting for the prediction.";
    this.place.classList.add("old");
    if (!this.place.hasChildNodes()) this.put(html("p", { class: "help" }, "Waiting for the prediction."));
  }

  /** Replaces the shown prediction; a focus inside it stays inside. */
  put(...parts) {
    const isFocused = this.place.contains(document.activeElement);
    this.place.replaceChildren(...parts);
    if (isFocused) (this.place.querySelector("button, summary") ?? this.place).focus();
  }

  show(answer) {
    this.place.classList.remove("old");
    const { kind, target, positive } = this.model;
    if (kind === "regression") {
      const value = number(answer.value);
      this.said.textContent = `${target}: ${value}`;
      this.put(html("p", { class: "verdict" }, value), html("p", { class: "help" }, target), this.stale(answer));
      return;
    }
    const shares = Object.entries(answer.probabilities);
    const share = answer.probabilities[answer.label];
    this.said.textContent = `${answer.label}, ${percent(share)} likely`;
    const verdict = html("p", { class: "verdict" }, answer.label, html("span", {}, ` ${percent(share)}`));
    const isLong = shares.length > MAX_SHARES;
    if (isLong) shares.sort(([, a], [, b]) => b - a);
    const bars = shares.map(([name, each]) => bar(name, each, percent(each), name === (positive || answer.label)));
    const likely = html("dl", { class: "shares" }, ...bars.splice(0, MAX_SHARES));
    this.put(verdict, likely, isLong ? this.rest(bars) : "", this.stale(answer));
  }

  /** Returns a notice if the prediction is from another version than the form: a label moved after the page loaded. */
  stale({ version }) {
    if (version === this.model.version) return "";
    const told = `This prediction is from version ${version}; this page is for version ${this.model.version}. `;
    return html("p", { class: "help" }, told, html("a", { href: "" }, "Reload the page"));
  }

  /** Returns the bars of the less likely classes, open if they were open before. */
  rest(bars) {
    const open = this.place.querySelector("details")?.open ?? false;
    const shares = html("dl", { class: "shares" }, ...bars);
    return html("details", { open }, html("summary", {}, `${bars.length} less likely`), shares);
  }

  /** Shows why there is no prediction: beside the field if the error names one. */
  refuse(error) {
    this.place.removeAttribute("aria-busy");
    this.place.classList.remove("old");
    this.retryAfterS = error.retryAfterS;
    const isField = this.form.tell(error.field, error.message);
    this.said.textContent = `No prediction. ${error.message}`;
    const again = html("button", { type: "button" }, "Try again");
    again.addEventListener("click", () => this.form.element.requestSubmit());
    const told = html("p", { class: "refused" }, isField ? "No prediction: see the error in the form." : error.message);
    const soon = error.retryAfterS ? html("p", { class: "help" }, "The request is retried automatically.") : "";
    this.put(told, ...(isField ? [] : [soon, again]));
    return undefined;
  }
}
