/**
 * The answer to what stands in the form, as it is typed: the newest one alone is shown.
 * @module
 */

import { post } from "./call.js";
import { bar, html, number, percent } from "./elements.js";
import { written } from "./form.js";

const SLOW_MS = 400;
/** Of more classes the likeliest come first, and the rest is opened. */
const MAX_SHARES = 6;

/** Asks about the form, and shows what comes back in `main`. */
export class Answer {
  constructor(main, form) {
    this.model = main.dataset;
    this.form = form;
    this.place = main.querySelector("#answer");
    this.said = main.querySelector("#said");
  }

  /**
   * Asks about what stands in the form now, and no longer about what stood there.
   * Returns the record and its answer; undefined where there is none, or a newer one is asked for.
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

  /** Says that what stands there is no answer to what stands in the form now. */
  wait() {
    this.said.textContent = "Waiting for the prediction.";
    this.place.classList.add("old");
    if (!this.place.hasChildNodes()) this.put(html("p", { class: "help" }, "Waiting for the prediction."));
  }

  /** Puts this in the answer's place; the focus stays there if it was there. */
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

  /** Returns what is told where another version answers than the form was made of: a label has moved meanwhile. */
  stale({ version }) {
    if (version === this.model.version) return "";
    const told = `This prediction is from version ${version}; this page is for version ${this.model.version}. `;
    return html("p", { class: "help" }, told, html("a", { href: "" }, "Reload the page"));
  }

  /** Returns the bars of the less likely classes, open where they were. */
  rest(bars) {
    const open = this.place.querySelector("details")?.open ?? false;
    const shares = html("dl", { class: "shares" }, ...bars);
    return html("details", { open }, html("summary", {}, `${bars.length} less likely`), shares);
  }

  /** Shows why there is no answer: beside the field where one is at fault. */
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
