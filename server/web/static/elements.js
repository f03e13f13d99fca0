/**
 * Create elements, and format numbers for the page.
 * @module
 */

const SVG = "http://www.w3.org/2000/svg";
const PERCENT = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const COUNT = new Intl.NumberFormat("en");
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
/** From about this size on, a double cannot hold every digit of a number. */
const LARGE = 1e15;
const NONE = "not a number";

/** Returns an HTML element with attributes and children; strings become text. */
export function html(name, attributes = {}, ...children) {
  return made(document.createElement(name), attributes, children);
}

/** Returns an SVG element with attributes and children. */
export function svg(name, attributes = {}, ...children) {
  return made(document.createElementNS(SVG, name), attributes, children);
}

/** Returns a table with a caption and column headers; the first cell of each row is the row's header. */
export function table(caption, heads, rows) {
  const line = ([first, ...rest]) =>
    html("tr", {}, html("th", { scope: "row" }, first), ...rest.map((cell) => html("td", {}, cell)));
  const top = html("tr", {}, ...heads.map((head) => html("th", { scope: "col" }, head)));
  return html("table", {}, html("caption", {}, caption), html("thead", {}, top), html("tbody", {}, ...rows.map(line)));
}

/** Returns a bar with its name and text; its length is `share`, and `isFirst` highlights it. */
export function bar(name, share, text, isFirst) {
  const meter = html("span", { class: isFirst ? "bar first" : "bar" });
  meter.style.setProperty("--share", String(share));
  return html("div", {}, html("dt", {}, name), html("dd", {}, meter, html("b", {}, text)));
}

/** Returns a share as a percentage. */
export function percent(share) {
  return share === null ? NONE : PERCENT.format(share);
}

/** Returns a change with its sign: of a share in percentage points, of any other value as a number. */
export function change(difference, isShare) {
  const size = Math.abs(difference);
  const words = isShare ? `${(size * 100).toFixed(1)} points` : number(size);
  return `${difference < 0 ? "−" : "+"}${words}`;
}

/** Returns a number with five significant digits, and all digits before the point; null becomes "not a number". */
export function number(value) {
  if (value === null) return NONE;
  const size = Math.abs(value);
  if (size >= LARGE) return value.toExponential(4).replace("e+", "e");
  return size >= 1e4 ? COUNT.format(Math.round(value)) : String(Number(value.toPrecision(5)));
}

/** Returns a number that is short enough for an axis label. */
export function short(value) {
  const text = number(value);
  const size = Math.abs(value);
  if (text.length <= 5) return text;
  if (size >= LARGE || size < 1e-3) return value.toExponential(1).replace("e+", "e");
  return size >= 1e4 ? COMPACT.format(value) : String(Number(value.toPrecision(3)));
}

/** Returns a count with thousands separators. */
export function count(value) {
  return COUNT.format(value);
}

/** Returns a number of rows as text, such as "1 row" or "2 rows". */
export function rowsOf(value) {
  return `${count(value)} ${value === 1 ? "row" : "rows"}`;
}

/** Returns a number of bytes in B, kB, MB or GB. */
export function bytes(value) {
  const power = Math.min(3, Math.floor(Math.log10(Math.max(value, 1)) / 3));
  return `${(value / 1000 ** power).toFixed(power && 1)} ${["B", "kB", "MB", "GB"][power]}`;
}

function made(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}
