/** What the page is built from: elements without a line of HTML in a string, so that no text can become markup. */

/**
 * Returns an element. An attribute that is a function listens to the event of its name; undefined and false are left
 * out, true is an attribute without a value. Children are elements or text; what is undefined is left out.
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== undefined));
  return made;
}

/** Returns text, of which what stands in backquotes is code. */
export function prose(text) {
  return text.split("`").map((part, place) => (place % 2 ? element("code", {}, part) : part));
}

/** Returns text that is read as it is, and can be scrolled by keyboard. */
export function block(text, label) {
  return element("pre", { tabindex: "0", role: "group", "aria-label": label }, text);
}

/** Returns a value of the document as it is shown: text as it is, all else as indented JSON. */
export function shown(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

/** Returns JSON indented, its numbers as they are written: a browser's own would lose digits of large ones. */
export function indented(json) {
  try {
    JSON.parse(json);
  } catch {
    return json;
  }
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  return json.replace(/"(?:[^"\\]|\\.)*"|\{\s*\}|\[\s*\]|[{}[\],:]|\s+/g, (token) => {
    if (/^\s/.test(token)) return "";
    if (token === "{" || token === "[") {
      depth += 1;
      return token + line();
    }
    if (token === "}" || token === "]") {
      depth -= 1;
      return line() + token;
    }
    if (token === ",") return token + line();
    return token === ":" ? ": " : token;
  });
}

/** Returns a button that copies what `text` gives, and says whether it did: without TLS a browser lets no page copy. */
export function copyButton(text) {
  const button = element("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not copied: select the text";
    }
  });
  return button;
}
