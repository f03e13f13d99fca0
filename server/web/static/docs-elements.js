/** Create the page's elements with DOM calls, never from HTML strings, so that no text can become markup. */

/**
 * Returns an element. A function as attribute listens to the event of that name. An attribute that is undefined or
 * false is omitted; true becomes an attribute without a value. Children are elements or text; undefined is omitted.
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

/** Returns text as nodes; the parts in backquotes become code elements. */
export function prose(text) {
  return text.split("`").map((part, place) => (place % 2 ? element("code", {}, part) : part));
}

/** Returns preformatted text that can be scrolled with the keyboard. */
export function block(text, label) {
  return element("pre", { tabindex: "0", role: "group", "aria-label": label }, text);
}

/** Returns a value of the document for display: strings unchanged, everything else as indented JSON. */
export function shown(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

/** Returns indented JSON, with its numbers unchanged: JSON.parse would lose digits of large numbers. */
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

/** Returns a button that copies the result of `text()`, and shows whether it worked: browsers require TLS to copy. */
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
