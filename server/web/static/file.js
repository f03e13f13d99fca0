/**
 * A whole file through the service: sent from the disk as it is, its answer read as it streams, counted, kept and handed out.
 * @module
 */
import { call } from "./call.js";
import { bytes, count, html, rowsOf } from "./elements.js";
import { Histogram } from "./histogram.js";
import { ScoredRows } from "./rows.js";

const TYPES = {
  csv: "text/csv",
  txt: "text/csv",
  tsv: "text/tab-separated-values",
  ndjson: "application/x-ndjson",
  jsonl: "application/x-ndjson",
};
const SAMPLE_BYTES = 65_536;
/** Pieces of the answer are put together from time to time: what is in a Blob, the browser may put on the disk. */
const GATHERED_BYTES = 8_388_608;
const BUSY_MS = 12;
/** What a browser says of a folder, and of a file that was changed or taken away after it was chosen. */
const UNREADABLE = ["NotReadableError", "NotFoundError"];

/** The part of the page that takes a file. */
export class FileScoring {
  constructor(main, signal) {
    this.model = main.dataset;
    const part = main.querySelector("#file");
    part.hidden = false;
    const named = (name) => part.querySelector(`#file-${name}`);
    this.elements = Object.fromEntries(
      ["work", "said", "name", "progress", "counts", "cancel", "download", "histogram", "chosen"].map((name) => [
        name,
        named(name),
      ]),
    );
    this.onError = part.querySelector("#on-error");
    const { chosen, cancel } = this.elements;
    chosen.addEventListener("click", () => {
      chosen.value = ""; // or the same file, mended, would be no change
    });
    chosen.addEventListener("change", () => chosen.files[0] && this.score(chosen.files[0]));
    this.onError.addEventListener("change", () => this.file && this.score(this.file));
    cancel.addEventListener("click", () => this.working?.abort());
    signal.addEventListener("abort", () => this.working?.abort());
    this.takeDrops(part.querySelector("#drop"));
    for (const event of ["dragover", "drop"]) {
      document.addEventListener(event, (dropped) => dropped.preventDefault(), { signal }); // or the file would be opened
    }
  }

  takeDrops(zone) {
    const over = (isOver) => (event) => {
      event.preventDefault();
      zone.classList.toggle("over", isOver);
    };
    zone.addEventListener("dragenter", over(true));
    zone.addEventListener("dragover", over(true));
    zone.addEventListener("dragleave", over(false));
    zone.addEventListener("drop", (event) => {
      over(false)(event);
      const [file, ...others] = event.dataTransfer.files;
      if (file) this.score(file, others.length);
    });
  }

  /** Scores a file, and shows how far it is; one that is under way is given up for it, `others` are left alone. */
  async score(file, others = 0) {
    this.working?.abort();
    this.file = file;
    const working = new AbortController();
    this.working = working;
    const seen = this.begin(file, others);
    try {
      const expected = await rowsIn(file);
      const response = await this.send(file, `on_error=${this.onError.value}`, working.signal);
      await this.read(response, seen, expected);
      seen.isOver = true;
      if (this.working === working) this.finish(file, seen, response.headers.get("content-type"));
    } catch (error) {
      seen.isOver = true;
      if (this.working === working) this.fail(error, seen, await this.reason(error, file, working.signal));
    }
  }

  send(file, query, signal) {
    const type = TYPES[file.name.split(".").at(-1).toLowerCase()] ?? "application/octet-stream";
    return call(`${this.model.root}/batch?${query}`, {
      method: "PUT",
      body: file,
      headers: { "content-type": type },
      signal,
    });
  }

  /**
   * Returns which row ended an answer that was broken off in its middle, and why: a browser throws the end of such an
   * answer away, where the reason stands, so the rows are asked for once more, with their errors instead.
   */
  async reason(error, file, signal) {
    if (error.status !== 0 && error.name !== "TypeError") return undefined;
    if (this.onError.value !== "fail") return undefined;
    let found;
    const rows = new ScoredRows("error", (message) => {
      found ??= `row ${rows.rows}: ${message}`;
    });
    const decoder = new TextDecoder();
    try {
      const response = await this.send(file, "on_error=null&columns=none", signal);
      for await (const piece of response.body) {
        rows.push(decoder.decode(piece, { stream: true }));
        if (found) break;
      }
    } catch {
      return undefined; // then it is the connection that breaks
    }
    return found;
  }

  begin(file, others) {
    const { work, said, name, progress, download, histogram, cancel } = this.elements;
    const { kind, target, positive } = this.model;
    const what = kind === "binary" ? `probability of ${positive}` : target;
    const spread = new Histogram(kind, what);
    const rows = new ScoredRows(kind === "binary" ? `probability_${positive}` : `predicted_${target}`, (cell) =>
      spread.add(cell),
    );
    work.hidden = false;
    cancel.hidden = false;
    download.hidden = true;
    if (download.href) URL.revokeObjectURL(download.href);
    histogram.replaceChildren();
    said.classList.remove("wrong");
    said.textContent = `Scoring ${file.name}.`;
    const left = others ? `; one file at a time: ${count(others)} more ignored` : "";
    name.textContent = `${file.name}, ${bytes(file.size)}${left}`;
    progress.removeAttribute("value");
    return { rows, spread, pieces: [], loose: 0, read: 0, isDrawn: false, isOver: false };
  }

  async read(response, seen, expected) {
    let yielded = performance.now();
    const isText = response.headers.get("content-type")?.startsWith("text/");
    const decoder = new TextDecoder();
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      seen.read += value.byteLength;
      keep(seen, value);
      if (isText) seen.rows.push(decoder.decode(value, { stream: true }));
      this.show(seen, expected);
      if (performance.now() - yielded < BUSY_MS) continue;
      await turn(); // or pieces that are there already would keep the page from all else
      yielded = performance.now();
    }
    seen.rows.end();
    this.draw(seen);
  }

  /** Shows the counts, at most once a frame. */
  show(seen, expected) {
    if (seen.isDrawn) return;
    seen.isDrawn = true;
    requestAnimationFrame(() => {
      seen.isDrawn = false;
      if (seen.isOver) return;
      if (expected !== undefined) this.elements.progress.value = Math.min(0.99, seen.rows.rows / expected);
      this.draw(seen);
    });
  }

  draw({ rows, read, spread }) {
    const { counts, histogram } = this.elements;
    counts.textContent = `${rowsOf(rows.rows)} scored, ${bytes(read)} received`;
    if (rows.rows === 0) return;
    const isOpen = histogram.querySelector("details")?.open ?? false;
    const figure = spread.figure();
    figure.querySelector("details").open = isOpen;
    histogram.replaceChildren(figure);
  }

  finish(file, seen, type) {
    const { said, progress, download, cancel } = this.elements;
    progress.value = 1;
    cancel.hidden = true;
    said.textContent = `Done: ${rowsOf(seen.rows.rows)} of ${file.name} scored.`;
    download.href = URL.createObjectURL(new Blob(seen.pieces, { type }));
    download.download = `scored-${file.name}`;
    download.hidden = false;
  }

  fail(error, { rows }, reason) {
    const { said, progress, cancel } = this.elements;
    cancel.hidden = true;
    progress.value = 0;
    if (error.name === "AbortError") {
      said.textContent = `Canceled after ${rowsOf(rows.rows)}.`;
      return;
    }
    said.classList.add("wrong");
    const message = reason ?? told(error);
    const [, row, column, words] = /^row (\d+): ([^:]+): (.*)$/s.exec(message) ?? [];
    const where = row ? html("b", {}, `Row ${count(Number(row))}, column ${column}: `) : "";
    const after = rows.rows ? ` (after ${rowsOf(rows.rows)} that were scored)` : "";
    said.replaceChildren(where, row ? words : message, after);
  }
}

/** Returns what is told of a failure that is no row's. */
function told(error) {
  if (UNREADABLE.includes(error.name)) return "The file can’t be read. Is it a folder? Has it changed since it was chosen?";
  if (!error.status) return "The connection was lost before the file was complete.";
  return error.message.replace(/^body: /, "The file: "); // which is the whole body of that call
}

/** Returns about how many rows a text has, by how long its first ones are; undefined where it is empty. */
async function rowsIn(file) {
  const text = await file.slice(0, SAMPLE_BYTES).text();
  const lines = text.split("\n").length - 1;
  return lines > 1 ? (file.size / Math.min(file.size, SAMPLE_BYTES)) * (lines - 1) : undefined;
}

/** Lets everything else have its turn: not by a timer, which sleeps where nobody looks. */
function turn() {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}

function keep(seen, piece) {
  seen.pieces.push(piece);
  seen.loose += piece.byteLength;
  if (seen.loose < GATHERED_BYTES) return;
  seen.pieces = [new Blob(seen.pieces)];
  seen.loose = 0;
}
