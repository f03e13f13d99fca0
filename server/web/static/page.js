/**
 * Start the page: request a prediction while the user types, and explanations and curves after a pause.
 * @module
 */

import { call } from "./call.js";
import { Calls } from "./calls.js";
import { showMoved } from "./contributions.js";
import { showCurves } from "./curves.js";
import { showDrift } from "./drift.js";
import { FileScoring } from "./file.js";
import { Form } from "./form.js";
import { askForKey } from "./key.js";
import { Answer } from "./prediction.js";

const ANSWER_MS = 120;
const PAUSE_MS = 500;

/** The main element for one model, active until `close()`. */
class Page {
  constructor(main) {
    this.main = main;
    this.closing = new AbortController();
    this.form = new Form(main.querySelector("#record"));
    this.answer = new Answer(main, this.form);
    this.calls = new Calls(main);
    new FileScoring(main, this.closing.signal);
    const element = this.form.element;
    element.addEventListener("input", () => this.later(ANSWER_MS));
    element.addEventListener("change", () => this.later(ANSWER_MS));
    element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.now(0).then(() => element.querySelector(".wrong :is(input, select)")?.focus());
    });
    element.addEventListener("reset", () => setTimeout(() => this.restart())); // the fields are reset after this event
  }

  /** Requests a prediction after `ms` without input. */
  later(ms) {
    this.calls.show(this.form.record());
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.now(PAUSE_MS), ms);
  }

  restart() {
    for (const { null: box, inputs } of this.form.fields) if (box) inputs[0].disabled = box.control.checked;
    this.now(0);
  }

  /** Requests a prediction now; requests the explanation and the curves after `ms` without another prediction. */
  async now(ms) {
    clearTimeout(this.timer);
    clearTimeout(this.pause);
    this.looking?.abort();
    this.calls.show(this.form.record());
    const answered = await this.answer.ask();
    if (answered === undefined) return this.unanswered();
    clearTimeout(this.pause);
    this.pause = setTimeout(() => this.look(answered), ms);
  }

  /** Hides the explanation and the curves. Retries after Retry-After, if there is one, and once the tab is visible. */
  unanswered() {
    for (const part of ["#moved", "#curves"]) this.main.querySelector(part).hidden = true;
    const { retryAfterS } = this.answer;
    if (retryAfterS === undefined) return;
    const again = () => this.now(PAUSE_MS);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (!document.hidden) again();
      else document.addEventListener("visibilitychange", again, { once: true, signal: this.closing.signal });
    }, retryAfterS * 1000);
  }

  /** Shows the feature contributions and the curves for a prediction. */
  async look(answered) {
    this.looking?.abort();
    const looking = new AbortController();
    this.looking = looking;
    try {
      await Promise.all([
        showMoved(this.main, answered, looking.signal),
        showCurves(this.main, this.form, answered, looking.signal).catch((error) => this.without(error)),
      ]);
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    }
  }

  without(error) {
    if (error.name === "AbortError") throw error;
    this.main.querySelector("#curves").hidden = false;
    this.main.querySelector("#curves-said").textContent = error.message;
    this.main.querySelector("#curves-drawn").replaceChildren();
  }

  start() {
    showDrift(this.main, this.closing.signal);
    return this.now(0);
  }

  close() {
    clearTimeout(this.timer);
    clearTimeout(this.pause);
    this.looking?.abort();
    this.answer.asking?.abort();
    this.closing.abort();
  }
}

/** Returns the current main element from the service, if the page's own is for another model or version. */
async function newer(main) {
  const name = new URLSearchParams(location.search).get("model") ?? main.dataset.model;
  const path = `/api/models/${encodeURIComponent(name)}`;
  const { version, sha256 } = await (await call(path)).json();
  const { model } = main.dataset;
  if (name === model && version === main.dataset.version && sha256 === main.dataset.sha256) return undefined;
  const text = await (await call(`${path}/form`)).text();
  return new DOMParser().parseFromString(text, "text/html").querySelector("main") ?? undefined;
}

let page = new Page(document.getElementById("main"));

async function open() {
  page.start();
  const fresh = await newer(page.main).catch(() => undefined); // keep the page, which shows its own errors
  if (fresh === undefined) return;
  page.close();
  page.main.replaceWith(fresh);
  document.title = `${fresh.dataset.model}: ${fresh.dataset.target} · Lifeboat`;
  for (const link of document.querySelectorAll(".models a")) {
    const isHere = new URL(link.href).searchParams.get("model") === fresh.dataset.model;
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  page = new Page(fresh);
  page.start();
}

askForKey(document.getElementById("key"), open);
open();
