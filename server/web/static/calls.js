/**
 * Show example code for the API request: one tab for each language, with a Copy button.
 * @module
 */
import { hasKey } from "./call.js";
import { html } from "./elements.js";
import { written } from "./form.js";
import { snippets } from "./snippets.js";

/** Tabs as the ARIA Authoring Practices describe them: arrow keys select a tab, the Tab key moves to its panel. */
export class Calls {
  constructor(main) {
    this.model = main.dataset;
    main.querySelector("#calls").hidden = false;
    this.place = main.querySelector("#snippets");
    this.panels = new Map();
  }

  /** Shows the request for this record. */
  show(record) {
    const { root, method, kind } = this.model;
    const { origin } = location;
    const path = `${root}/predict`;
    const made = snippets({ origin, path, method, kind, record, text: written(record), hasKey: hasKey() });
    if (this.panels.size === 0) this.build(made);
    for (const { name, code, said } of made) {
      const { text, hint } = this.panels.get(name);
      text.textContent = code;
      hint.textContent = said;
    }
    this.others(origin + root);
  }

  /** Shows the other endpoints: feature contributions, and scoring a file. */
  others(address) {
    const key = hasKey() ? ' -H "X-Api-Key: $LIFEBOAT_KEY"' : "";
    const explained = html("p", { class: "help" }, html("code", {}, `${address}/explain`));
    explained.append(" accepts the same record and adds feature contributions.");
    const file = `curl -s -T file.csv${key} -o scored.csv '${address}/batch'`;
    const whole = html("p", { class: "help" }, html("code", {}, file), " scores a file.");
    this.more.replaceChildren(...("explained" in this.model ? [explained, whole] : [whole]));
  }

  build(made) {
    this.tabs = html("div", { role: "tablist", "aria-label": "Languages" });
    for (const { name } of made) {
      const id = name.toLowerCase();
      const tab = html(
        "button",
        { type: "button", role: "tab", id: `tab-${id}`, "aria-controls": `panel-${id}` },
        name,
      );
      tab.addEventListener("click", () => this.choose(name));
      const text = html("code");
      const hint = html("p", { class: "help" });
      const copy = html("button", { type: "button", class: "copy" }, "Copy");
      const said = html("span", { role: "status", class: "help" });
      copy.addEventListener("click", () => copied(text.textContent, said));
      const label = `${name} call`;
      const panel = html(
        "div",
        { role: "tabpanel", id: `panel-${id}`, "aria-labelledby": `tab-${id}` },
        html("pre", { tabindex: "0", role: "group", "aria-label": label }, text),
        html("div", { class: "row" }, copy, said),
        hint,
      );
      this.panels.set(name, { tab, panel, text, hint });
      this.tabs.append(tab);
    }
    this.tabs.addEventListener("keydown", (event) => this.move(event));
    this.more = html("div");
    this.place.replaceChildren(this.tabs, ...[...this.panels.values()].map(({ panel }) => panel), this.more);
    this.choose(made[0].name);
  }

  choose(name) {
    for (const [each, { tab, panel }] of this.panels) {
      tab.setAttribute("aria-selected", String(each === name));
      tab.tabIndex = each === name ? 0 : -1;
      panel.hidden = each !== name;
    }
  }

  move(event) {
    const tabs = [...this.panels.values()].map(({ tab }) => tab);
    const here = tabs.indexOf(document.activeElement);
    const next = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const tab = tabs.at(next % tabs.length);
    tab.focus();
    tab.click();
  }
}

async function copied(text, said) {
  try {
    await navigator.clipboard.writeText(text);
    said.textContent = "Copied.";
  } catch {
    said.textContent = "The browser did not allow the copy: select the text and copy it.";
  }
}
