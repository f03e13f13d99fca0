/** Try an operation: edit and send a request, see the response, and copy the request as a curl command. */

import { block, copyButton, element, indented, shown } from "./docs-elements.js";
import { resolved } from "./docs-schema.js";

const TEXTUAL = /^(text\/|application\/(json|x-ndjson|.*\+json))/;
const SHOWN_CHARACTERS = 200_000;
let numbered = 0;

/** Returns the form that sends an operation's request and shows its response. */
export function tryIt(doc, path, method, operation) {
  const parameters = (operation.parameters ?? []).map((each) => resolved(each, doc));
  const fields = parameters.map((parameter) => ({
    parameter,
    input: inputFor(resolved(parameter.schema, doc), parameter),
  }));
  const body = operation.requestBody ? bodyFields(resolved(operation.requestBody, doc)) : undefined;
  const takesToken = (operation.security ?? []).some((each) => "token" in each);
  const asked = () => requestOf(path, method, fields, body, takesToken);
  const curl = block("", "The request as a curl command");
  curl.className = "wrapped";
  const answer = element("div", { class: "answer" });
  const send = element("button", { type: "submit" }, "Send");
  const cancel = element("button", { type: "button", disabled: true }, "Cancel");
  const status = element("p", { role: "status" });
  const form = element(
    "form",
    {
      class: "try",
      input: () => {
        curl.textContent = curlOf(asked());
      },
    },
    ...fields.map(({ parameter, input }) => labelled(input, parameter.name, parameter.in)),
    ...(body?.elements ?? []),
    element("p", { class: "buttons" }, send, cancel),
    status,
    answer,
    element(
      "p",
      { class: "buttons" },
      "curl",
      copyButton(() => curl.textContent),
    ),
    curl,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const controller = new AbortController();
    const stop = () => controller.abort();
    cancel.addEventListener("click", stop);
    send.disabled = true;
    cancel.disabled = false;
    answer.replaceChildren();
    status.textContent = "Sent; waiting for the response ...";
    await sent(asked(), controller.signal, status, answer);
    send.disabled = false;
    cancel.disabled = true;
    cancel.removeEventListener("click", stop);
  });
  curl.textContent = curlOf(asked());
  return form;
}

function inputFor(schema, parameter) {
  const value = Object.values(parameter.examples ?? {})[0]?.value ?? schema.const ?? "";
  const id = `field-${++numbered}`;
  if (!schema.enum) return element("input", { id, value: String(value), autocomplete: "off", spellcheck: "false" });
  const options = schema.enum.filter((each) => each !== null).map(String);
  if (!parameter.required) options.unshift("");
  return element(
    "select",
    { id },
    ...options.map((each) => element("option", { selected: each === String(value) }, each)),
  );
}

function labelled(input, name, place) {
  const hint = element("span", { class: "kind" }, ` ${place}`);
  return element("p", {}, element("label", { for: input.id }, element("code", {}, name), hint), input);
}

/** Returns a body's fields: the media type if there are several, an example, the text, and a file for binary bodies. */
function bodyFields({ content }) {
  const types = Object.keys(content);
  const type = element("select", { id: `field-${++numbered}` }, ...types.map((each) => element("option", {}, each)));
  const example = element("select", { id: `field-${++numbered}` });
  const text = element("textarea", { id: `field-${++numbered}`, rows: "10", spellcheck: "false" });
  const file = element("input", { id: `field-${++numbered}`, type: "file" });
  const examples = () => content[type.value].examples ?? {};
  const fill = () => {
    text.value = shown(examples()[example.value]?.value ?? "");
  };
  const refill = () => {
    example.replaceChildren(...Object.keys(examples()).map((name) => element("option", {}, name)));
    fill();
  };
  type.addEventListener("change", refill);
  example.addEventListener("change", fill);
  refill();
  const isFile = types.some((each) => content[each].schema?.format === "binary");
  const elements = [
    types.length > 1 ? labelled(type, "content-type", "header") : undefined,
    example.options.length > 1 ? labelled(example, "example", "fills the body") : undefined,
    labelled(text, "body", ""),
    isFile ? labelled(file, "file", "instead of the body above") : undefined,
  ];
  return { elements, type, text, file };
}

function requestOf(path, method, fields, body, takesToken) {
  let filled = path;
  const query = new URLSearchParams();
  const headers = {};
  for (const { parameter, input } of fields) {
    if (parameter.in === "path") filled = filled.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (input.value === "") continue;
    else if (parameter.in === "query") query.append(parameter.name, input.value);
    else headers[parameter.name] = input.value;
  }
  const url = new URL(filled.slice(1), new URL("..", location.href));
  url.search = query.toString();
  const file = body?.file.files[0];
  if (body) headers["Content-Type"] = body.type.value;
  return { url, method: method.toUpperCase(), headers, body: file ?? body?.text.value, file, takesToken };
}

/** Returns the header with the API key from its field, if the field is not empty. */
export function apiKey() {
  const key = document.getElementById("api-key").value;
  return key ? { "X-Api-Key": key } : {};
}

function keysOf({ takesToken }) {
  const token = document.getElementById("token").value;
  return { ...apiKey(), ...(takesToken && token ? { Authorization: `Bearer ${token}` } : {}) };
}

function curlOf(request) {
  const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const keys = keysOf(request);
  const parts = ["curl", request.method === "GET" ? "" : `-X ${request.method}`, quoted(request.url.href)];
  for (const [name, value] of Object.entries(request.headers)) parts.push("-H", quoted(`${name}: ${value}`));
  if (keys["X-Api-Key"]) parts.push('-H "X-Api-Key: $API_KEY"');
  if (keys.Authorization) parts.push('-H "Authorization: Bearer $TOKEN"');
  if (request.file) parts.push("--data-binary", quoted(`@${request.file.name}`));
  else if (request.body !== undefined) parts.push("--data-binary", quoted(request.body));
  return parts.filter(Boolean).join(" ");
}

/** Sends a request, and shows the response or the error. */
async function sent(request, signal, status, answer) {
  const { url, method, body } = request;
  const began = performance.now();
  try {
    const headers = { ...request.headers, ...keysOf(request) };
    const response = await fetch(url, { method, headers, body, signal, cache: "no-store" });
    const bytes = await response.blob();
    const took = Math.round(performance.now() - began);
    const type = response.headers.get("content-type") ?? "";
    status.textContent = `${response.status} ${response.statusText} in ${took} ms, ${bytes.size} bytes`;
    status.className = response.ok ? "good" : "bad";
    const given = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    answer.replaceChildren(
      await bodyView(bytes, type),
      element("details", {}, element("summary", {}, "Headers"), block(given, "Response headers")),
    );
  } catch (error) {
    status.className = "bad";
    status.textContent = signal.aborted ? "Canceled" : `No response: ${error.message}`;
  }
}

async function bodyView(bytes, type) {
  if (!TEXTUAL.test(type) && bytes.size) {
    const href = URL.createObjectURL(bytes);
    return element(
      "p",
      {},
      element("a", { href, download: "response" }, `Download the ${bytes.size} bytes of ${type}`),
    );
  }
  const text = await bytes.text();
  const whole = type.startsWith("application/json") ? indented(text) : text;
  const cut =
    whole.length > SHOWN_CHARACTERS ? `${whole.slice(0, SHOWN_CHARACTERS)}\n... ${whole.length} characters` : whole;
  return block(cut, "Response body");
}
