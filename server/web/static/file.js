/**
 * Score a file: stream it from the disk to the service, count the rows of the response, offer it as a download.
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
/** Chunks of the response are moved into a Blob at this size, because a browser may store Blobs on the disk. */
const GATHERED_BYTES = 8_388_608;
const BUSY_MS = 12;
/** Error names of browsers for a folder, and for a file that was changed or deleted after it was chosen. */
const UNREADABLE = ["NotReadableError", "NotFoundError"];

/** The section of the page that scores a file. */
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
      chosen.value = ""; // otherwise choosing the same file again, after a correction, fires no change event
    });
    chosen.addEventListener("change", () => chosen.files[0] && this.score(chosen.files[0]));
    this.onError.addEventListener("change", () => this.file && this.score(this.file));
    cancel.addEventListener("click", () => this.working?.abort());
    signal.addEventListener("abort", () => this.working?.abort());
    this.takeDrops(part.querySelector("#drop"));
    for (const event of ["dragover", "drop"]) {
      document.addEventListener(event, (dropped) => dropped.preventDefault(), { signal }); // or the browser opens it
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

  /** Scores a file and shows the progress. Cancels a running file; `others` is the number of ignored files. */
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
   * Returns the row that made the service abort the response, and its error; undefined if no row is at fault.
   * A browser discards the end of an aborted response, which contains the error, so this function sends the file again
   * with `on_error=null`, and reads the errors of its rows.
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
      return undefined; // the connection itself fails
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
      await turn(); // otherwise buffered chunks would block the page
      yielded = performance.now();
    }
    seen.rows.end();
    this.draw(seen);
  }

  /** Shows the counts, at most once for each animation frame. */
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

/** Returns the message for an error that no row caused. */
function told(error) {
  if (UNREADABLE.includes(error.name))
    return "The file can’t be read. Is it a folder? Has it changed since it was chosen?";
  if (!error.status) return "The connection was lost before the file was complete.";
  return error.message.replace(/^body: /, "The file: "); // the file is the request's whole body
}

/** Returns an estimate of a file's rows from the length of the first ones; undefined if there are too few lines. */
async function rowsIn(file) {
  const text = await file.slice(0, SAMPLE_BYTES).text();
  const lines = text.split("\n").length - 1;
  return lines > 1 ? (file.size / Math.min(file.size, SAMPLE_BYTES)) * (lines - 1) : undefined;
}

/** Yields to the event loop. Not with a timer, because browsers throttle timers in background tabs. */
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
