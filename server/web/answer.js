/**
 * The answer to what stands in the form, as it is typed: the newest one alone is shown.
 * @module
 */

import { post } from "./call.js";
import { html, number, percent } from "./elements.js";
import { written } from "./form.js";

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
    const wrong = this.form.clear();
    if (wrong) return this.refuse({ message: `${wrong.name}: expected a number`, field: wrong.name });
    const record = this.form.record();
    this.place.setAttribute("aria-busy", "true");
    try {
      const answer = await post(`${this.model.root}/predict`, written(record), asking.signal);
      if (asking.signal.aborted) return undefined;
      this.show(answer);
      return { record, answer };
    } catch (error) {
      if (asking.signal.aborted) return undefined;
      return this.refuse(error);
    } finally {
      if (!asking.signal.aborted) this.place.removeAttribute("aria-busy");
    }
  }

  show(answer) {
    const { kind, target, positive } = this.model;
    if (kind === "regression") {
      const value = answer.value === null ? "no number" : number(answer.value);
      this.said.textContent = `${target}: ${value}`;
      this.place.replaceChildren(html("p", { class: "verdict" }, value), html("p", { class: "help" }, target));
      return;
    }
    const shares = Object.entries(answer.probabilities);
    const share = answer.probabilities[answer.label];
    this.said.textContent = `${answer.label}, ${percent(share)} likely`;
    const verdict = html("p", { class: "verdict" }, answer.label, html("span", {}, ` ${percent(share)}`));
    const bars = shares.map(([name, each]) => bar(name, each, name === (positive || answer.label)));
    this.place.replaceChildren(verdict, html("dl", { class: "shares" }, ...bars));
  }

  /** Shows why there is no answer: beside the field where one is at fault. */
  refuse(error) {
    this.place.removeAttribute("aria-busy");
    const isField = this.form.tell(error.field, error.message);
    this.said.textContent = `No answer. ${error.message}`;
    const again = html("button", { type: "button" }, "Try again");
    again.addEventListener("click", () => this.form.element.requestSubmit());
    const told = html("p", { class: "refused" }, isField ? "No answer: see what is told in the form." : error.message);
    this.place.replaceChildren(told, ...(isField ? [] : [again]));
    return undefined;
  }
}

function bar(name, share, isFirst) {
  const meter = html("span", { class: isFirst ? "bar first" : "bar" });
  meter.style.setProperty("--share", String(share));
  return html("div", {}, html("dt", {}, name), html("dd", {}, meter, html("b", {}, percent(share))));
}
