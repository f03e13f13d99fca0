/**
 * Elements and numbers as the page writes them.
 * @module
 */

const SVG = "http://www.w3.org/2000/svg";
const PERCENT = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const COUNT = new Intl.NumberFormat("en");

/** Returns an HTML element with attributes and children; strings become text. */
export function html(name, attributes = {}, ...children) {
  return made(document.createElement(name), attributes, children);
}

/** Returns an SVG element, in the same way. */
export function svg(name, attributes = {}, ...children) {
  return made(document.createElementNS(SVG, name), attributes, children);
}

/** Returns a table: its caption, the heads of its columns, and rows whose first cell is the row's head. */
export function table(caption, heads, rows) {
  const line = ([first, ...rest]) =>
    html("tr", {}, html("th", { scope: "row" }, first), ...rest.map((cell) => html("td", {}, cell)));
  const top = html("tr", {}, ...heads.map((head) => html("th", { scope: "col" }, head)));
  return html("table", {}, html("caption", {}, caption), html("thead", {}, top), html("tbody", {}, ...rows.map(line)));
}

/** Returns a share as a percentage. */
export function percent(share) {
  return PERCENT.format(share);
}

/** Returns a share's change in points of a percentage, or a value's change, with its sign. */
export function change(difference, isShare) {
  const size = Math.abs(difference);
  const words = isShare ? `${(size * 100).toFixed(1)} points` : number(size);
  return `${difference < 0 ? "−" : "+"}${words}`;
}

/** Returns a number in five digits, a whole one whole. */
export function number(value) {
  return Number.isInteger(value) && Math.abs(value) < 1e6 ? String(value) : String(Number(value.toPrecision(5)));
}

/** Returns a count with its thousands apart. */
export function count(value) {
  return COUNT.format(value);
}

/** Returns how many rows, in words. */
export function rowsOf(value) {
  return `${count(value)} ${value === 1 ? "row" : "rows"}`;
}

/** Returns bytes in the unit that suits them. */
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
