/**
 * Read a scored CSV file in chunks: count its rows, and pick the column with the prediction.
 * @module
 */

/** Reads chunks of text, and calls `take(cell)` with the named column's cell of each row. */
export class ScoredRows {
  constructor(column, take) {
    this.column = column;
    this.take = take;
    this.rows = 0;
    this.rest = "";
    this.isQuoted = false;
    this.place = undefined;
  }

  /** Reads a chunk. */
  push(text) {
    const whole = this.rest + text;
    let begin = 0;
    let from = this.rest.length;
    let quote = whole.indexOf('"', from);
    for (;;) {
      const end = whole.indexOf("\n", from);
      for (; quote >= 0 && (end < 0 || quote < end); quote = whole.indexOf('"', quote + 1))
        this.isQuoted = !this.isQuoted;
      if (end < 0) break;
      if (!this.isQuoted) {
        this.line(whole.slice(begin, whole[end - 1] === "\r" ? end - 1 : end));
        begin = end + 1;
      }
      from = end + 1;
    }
    this.rest = whole.slice(begin);
  }

  /** Reads the last line, if no line end follows it. */
  end() {
    if (this.rest !== "") this.line(this.rest);
    this.rest = "";
  }

  line(text) {
    if (this.place === undefined) this.header(text);
    else {
      this.rows += 1;
      const cell = cells(text, this.delimiter)[this.place];
      if (cell) this.take(cell);
    }
  }

  header(text) {
    const [, before] = /(^|.)"?predicted_/.exec(text) ?? [];
    this.delimiter = [",", ";", "\t", "|"].includes(before) ? before : /[,;\t|]/.exec(text)?.[0];
    this.place = cells(text, this.delimiter).indexOf(this.column);
  }
}

function cells(line, delimiter) {
  if (delimiter === undefined) return [line];
  if (!line.includes('"')) return line.split(delimiter);
  const found = [""];
  let isQuoted = false;
  for (let at = 0; at < line.length; at += 1) {
    const letter = line[at];
    if (letter === '"' && isQuoted && line[at + 1] === '"') {
      found[found.length - 1] += letter;
      at += 1;
    } else if (letter === '"') isQuoted = !isQuoted;
    else if (letter === delimiter && !isQuoted) found.push("");
    else found[found.length - 1] += letter;
  }
  return found;
}
