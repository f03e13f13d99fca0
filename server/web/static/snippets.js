/**
 * Example code for the page's request, in four languages. Each example runs unchanged, with nothing to install but the
 * language. It reads the API key from the environment, so the key is never shown.
 * @module
 */

import { written } from "./form.js";

const UNSAFE = /(?<![\d.])-?\d{16,}(?![\d.eE])/;

/** Returns each language's name and code, with a sentence on how to run it. */
export function snippets({ origin, path, method, kind, record, text, hasKey }) {
  return [
    { name: "curl", code: curl(origin + path, text, hasKey), said: "In any POSIX shell." },
    { name: "Python", code: python(origin + path, record, hasKey), said: "Python 3, with the standard library only." },
    {
      name: "TypeScript",
      code: typescript(origin + path, record, text, kind, hasKey),
      said: "Node, Deno, Bun or a browser; save it as call.mts.",
    },
    {
      name: "grpcurl",
      code: grpcurl(origin, method, record),
      said: "Native gRPC, directly to a server started with LIFEBOAT_HTTP2=1. A Worker does not forward it.",
    },
  ];
}

function curl(url, text, hasKey) {
  const key = hasKey ? ' \\\n  -H "X-Api-Key: $LIFEBOAT_KEY"' : "";
  return `curl -s ${quoted(url)}${key} \\\n  -d ${quoted(text)}`;
}

function python(url, record, hasKey) {
  const words = { true: "True", false: "False", null: "None" };
  const members = [...record].map(([name, json]) => `    ${JSON.stringify(name)}: ${words[json] ?? json},\n`).join("");
  const key = hasKey ? ', "X-Api-Key": os.environ["LIFEBOAT_KEY"]' : "";
  return `import json${hasKey ? "\nimport os" : ""}
from urllib.request import Request, urlopen

record = {
${members}}
headers = {"Content-Type": "application/json"${key}}
request = Request(${JSON.stringify(url)}, json.dumps(record).encode(), headers)
with urlopen(request) as response:
    print(json.load(response))`;
}

function typescript(url, record, text, kind, hasKey) {
  const type = {
    binary: "{ label: string; probability: number; probabilities: Record<string, number> }",
    multiclass: "{ label: string; probabilities: Record<string, number> }",
    regression: "{ value: number }",
  }[kind];
  const key = hasKey ? ', "x-api-key": process.env.LIFEBOAT_KEY ?? ""' : "";
  const members = [...record].map(([name, json]) => `  ${JSON.stringify(name)}: ${json},\n`).join("");
  const isUnsafe = UNSAFE.test(text); // a JavaScript number would round the integer
  const given = isUnsafe ? `const body = ${JSON.stringify(text)};` : `const record = {\n${members}};`;
  return `${given}
const response = await fetch(${JSON.stringify(url)}, {
  method: "POST",
  headers: { "content-type": "application/json"${key} },
  body: ${isUnsafe ? "body" : "JSON.stringify(record)"},
});
if (!response.ok) throw new Error(await response.text());
const answer: ${type} = await response.json();
console.log(JSON.stringify(answer));`;
}

function grpcurl(origin, method, record) {
  const { protocol, hostname, port } = new URL(origin);
  const text = written(new Map([...record].filter(([, json]) => json !== "null"))); // grpcurl rejects null
  const isPlain = protocol === "http:";
  const address = `${hostname}:${port || (isPlain ? 80 : 443)}`;
  return `grpcurl ${isPlain ? "-plaintext " : ""}\\\n  -d ${quoted(text)} \\\n  ${address} ${method}`;
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
