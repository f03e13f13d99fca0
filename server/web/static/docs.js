/** Show openapi.json as a list of operations, grouped by tag; an operation is rendered when it is first opened. */

import { block, element, prose, shown } from "./docs-elements.js";
import { kindOf, resolved, schemaView } from "./docs-schema.js";
import { apiKey, tryIt } from "./docs-try.js";

const STREAM = "application/connect+json";

await load();

async function load() {
  const state = document.getElementById("state");
  try {
    const response = await fetch("openapi.json", { headers: apiKey() });
    if (response.ok) return show(await response.json());
    state.textContent = `openapi.json can't be loaded: ${response.status} ${response.statusText}`;
    if (response.status === 401) askForKey(state);
  } catch (error) {
    state.textContent = `openapi.json can't be loaded: ${error.message}`;
  }
}

/** Opens the field for an API key, and loads the document again when a key is entered. */
function askForKey(state) {
  state.textContent = "The Worker of this service requires an API key: enter it under Keys.";
  document.querySelector(".keys").open = true;
  document.getElementById("api-key").addEventListener("change", load, { once: true });
}

function show(doc) {
  document
    .getElementById("about")
    .append(
      ...doc.info.description.split("\n\n").map((each) => element("p", {}, ...prose(each))),
      element("p", { class: "kind" }, `${doc.info.title} ${doc.info.version}, OpenAPI ${doc.openapi}`),
    );
  const contents = document.getElementById("contents");
  const main = document.getElementById("operations");
  for (const [tag, operations] of grouped(doc)) {
    const id = `tag-${tag.name.toLowerCase().replaceAll(" ", "-")}`;
    const links = operations.map((each) => element("li", {}, element("a", { href: `#${each.id}` }, ...titled(each))));
    contents.append(
      element(
        "section",
        {},
        element("h2", {}, element("a", { href: `#${id}` }, tag.name)),
        element("ul", {}, ...links),
      ),
    );
    const heads = [element("h2", { id }, tag.name), element("p", {}, ...prose(tag.description ?? ""))];
    main.append(
      element("section", { "aria-labelledby": id }, ...heads, ...operations.map((each) => operationView(doc, each))),
    );
  }
  document.getElementById("state").remove();
  document.getElementById("filter").addEventListener("input", (event) => filter(event.target.value.toLowerCase()));
  addEventListener("hashchange", opened);
  opened();
}

/** Returns each tag with its operations, sorted by the number of path segments. */
function grouped(doc) {
  const all = Object.entries(doc.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation, id: operation.operationId })),
  );
  const depth = ({ path }) => path.split("/").length;
  const tags = [...doc.tags];
  for (const name of all.flatMap(({ operation }) => operation.tags ?? [])) {
    if (!tags.some((tag) => tag.name === name)) tags.push({ name });
  }
  return tags
    .map((tag) => [
      tag,
      all.filter(({ operation }) => operation.tags?.includes(tag.name)).sort((a, b) => depth(a) - depth(b)),
    ])
    .filter(([, operations]) => operations.length);
}

/** Returns the method and the path; the line may break before a slash. */
function titled({ path, method }) {
  const parts = path.split(/(?=\/)/).flatMap((part) => [element("wbr"), part]);
  return [element("span", { class: `method ${method}` }, method.toUpperCase()), " ", element("code", {}, ...parts)];
}

function operationView(doc, each) {
  const summary = element("span", { class: "words" }, each.operation.summary ?? "");
  const view = element(
    "details",
    { class: "operation", id: each.id },
    element("summary", {}, ...titled(each), summary),
  );
  view.addEventListener("toggle", () => view.append(...laidOut(doc, each)), { once: true });
  return view;
}

function laidOut(doc, { path, method, operation }) {
  const isStream = operation.requestBody?.content?.[STREAM] !== undefined;
  return [
    element("p", {}, ...prose(operation.description ?? operation.requestBody?.description ?? "")),
    ...parametersView(doc, operation.parameters ?? []),
    ...bodyView(doc, operation),
    element("h3", {}, "Try it"),
    isStream
      ? element("p", {}, "This page can't send streams; use an RPC client.")
      : tryIt(doc, path, method, operation),
    element("h3", {}, "Responses"),
    ...Object.entries(operation.responses).map(([status, response]) =>
      responseView(doc, status, resolved(response, doc)),
    ),
  ];
}

function parametersView(doc, parameters) {
  if (!parameters.length) return [];
  const items = parameters.map((each) => {
    const known = resolved(each, doc);
    return element(
      "li",
      {},
      element("code", {}, known.name),
      element("span", { class: "kind" }, ` ${known.in}, ${kindOf(known.schema ?? {}, doc)}`),
      known.required ? element("strong", {}, " required") : undefined,
      known.description ? element("span", {}, " – ", ...prose(known.description)) : undefined,
    );
  });
  return [element("h3", {}, "Parameters"), element("ul", {}, ...items)];
}

function bodyView(doc, { requestBody }) {
  if (!requestBody) return [];
  return [element("h3", {}, requestBody.required ? "Body" : "Body, if any"), ...contentView(doc, requestBody.content)];
}

function contentView(doc, content = {}) {
  return Object.entries(content).flatMap(([type, { schema, examples }]) => [
    element("p", {}, element("code", {}, type)),
    schema ? schemaView(schema, doc) : undefined,
    ...Object.entries(examples ?? {}).map(([name, example]) => {
      const asked = example["x-request"]
        ? [element("p", {}, "for the request"), block(shown(example["x-request"]), "Request")]
        : [];
      const words = `Example: ${name}${example.summary ? `, ${example.summary}` : ""}`;
      return element("details", {}, element("summary", {}, words), block(shown(example.value), words), ...asked);
    }),
  ]);
}

function responseView(doc, status, response) {
  const summary = element("summary", {}, element("strong", {}, status), ` ${response.description}`);
  const headers = Object.entries(response.headers ?? {}).map(([name, { description }]) =>
    element("li", {}, element("code", {}, name), ` – ${description}`),
  );
  const fields = headers.length ? element("ul", {}, ...headers) : undefined;
  return element("details", { class: "response" }, summary, fields, ...contentView(doc, response.content));
}

/** Shows only the operations whose path, method or summary contains the words. */
function filter(words) {
  for (const each of document.querySelectorAll(".operation, nav li")) {
    const text = (each.querySelector("summary") ?? each).textContent.toLowerCase();
    each.hidden = !text.includes(words);
  }
  for (const section of document.querySelectorAll("main section, nav section")) {
    section.hidden = !section.querySelector(".operation:not([hidden]), li:not([hidden])");
  }
}

/** Opens the operation that the URL's fragment names. */
function opened() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named instanceof HTMLDetailsElement) {
    named.open = true;
    named.querySelector("summary").focus();
    named.scrollIntoView();
  }
}
