/** Show JSON Schemas as nested lists: the name, the type and the description of each member. */

import { element, prose } from "./docs-elements.js";

const DEEPEST = 6;

/** Returns the target of a reference in the document; returns any other object unchanged. */
export function resolved(part, doc) {
  if (!part?.$ref) return part ?? {};
  const found = part.$ref
    .slice(2)
    .split("/")
    .reduce((at, name) => at[name.replaceAll("~1", "/").replaceAll("~0", "~")], doc);
  return resolved(found, doc);
}

/** Returns a description of the values that a schema allows. */
export function kindOf(schema, doc) {
  const known = resolved(schema, doc);
  if ("const" in known) return JSON.stringify(known.const);
  if (known.enum) return `one of ${known.enum.map((value) => JSON.stringify(value)).join(", ")}`;
  if (known.oneOf) return "one of these";
  const types = [known.type ?? "anything"].flat();
  const words = types.map((type) => (type === "array" ? `array of ${kindOf(known.items ?? {}, doc)}` : type));
  return [words.join(" or "), range(known), known.contentEncoding].filter(Boolean).join(", ");
}

/** Returns a range in words, without limits that only repeat the range of the number type. */
function range({ minimum, maximum, minItems, maxItems, maxLength }) {
  const isTold = (limit) => limit !== undefined && Math.abs(limit) <= Number.MAX_SAFE_INTEGER;
  const said = [];
  if (isTold(minimum) && isTold(maximum)) said.push(`${minimum} to ${maximum}`);
  else if (isTold(minimum)) said.push(`at least ${minimum}`);
  else if (isTold(maximum)) said.push(`at most ${maximum}`);
  if (minItems !== undefined || maxItems !== undefined) said.push(`${minItems ?? 0} to ${maxItems ?? "any"} items`);
  if (maxLength !== undefined) said.push(`at most ${maxLength} characters`);
  return said.join(", ");
}

/** Returns a schema as a list of its members, with their own members nested below. */
export function schemaView(schema, doc, depth = 0) {
  const known = resolved(schema, doc);
  if (known.oneOf) {
    return element(
      "ul",
      {},
      ...known.oneOf.map((each) => element("li", {}, named(each, doc), below(each, doc, depth))),
    );
  }
  if (known.type === "array" || known.items) return schemaView(known.items ?? {}, doc, depth);
  const members = Object.entries(known.properties ?? {});
  if (!members.length) return element("p", { class: "kind" }, kindOf(known, doc));
  const required = new Set(known.required ?? []);
  return element("ul", {}, ...members.map(([name, each]) => member(name, each, required.has(name), doc, depth)));
}

function member(name, schema, isRequired, doc, depth) {
  const known = resolved(schema, doc);
  return element(
    "li",
    {},
    element("code", {}, name),
    isRequired ? element("strong", {}, " required") : undefined,
    element("span", { class: "kind" }, ` ${kindOf(schema, doc)}`),
    known.description ? element("span", {}, ` – `, ...prose(known.description)) : undefined,
    below(schema, doc, depth),
  );
}

function below(schema, doc, depth) {
  const known = resolved(schema, doc);
  const inner = known.type === "array" ? resolved(known.items, doc) : known;
  return depth < DEEPEST && (inner.properties || inner.oneOf) ? schemaView(inner, doc, depth + 1) : undefined;
}

function named(schema, doc) {
  return schema.$ref ? element("code", {}, schema.$ref.split("/").at(-1)) : kindOf(schema, doc);
}
