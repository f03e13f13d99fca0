/**
 * Convert the form's fields to a record, as JSON text: a number keeps every digit that was typed.
 * @module
 */

const LITERAL = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/** One feature's field. */
class Field {
  constructor(element) {
    const { feature, datatype, nullable, low, high } = element.dataset;
    this.name = feature;
    this.datatype = datatype;
    this.isNullable = nullable === "true";
    /** The range of the feature's curve; undefined if it has no curve. */
    this.range = low === undefined ? undefined : [Number(low), Number(high)];
    this.isWhole = !datatype.startsWith("FP");
    this.element = element;
    this.error = element.querySelector(".error");
    this.inputs = [...element.querySelectorAll("[name]")];
    this.null = element.querySelector(".null");
    if (this.null) this.null.hidden = false;
  }

  /** Whether the field contains text that is no number. Its value is empty then, the same as for an empty field. */
  get isNoNumber() {
    return this.inputs[0].validity.badInput;
  }

  /** The content of the field, as text. */
  get text() {
    const [first] = this.inputs;
    return first.type === "radio" ? (this.inputs.find((each) => each.checked)?.value ?? "") : first.value;
  }

  /** The value as JSON text; undefined if the field is empty and the feature is not nullable. */
  get json() {
    const nothing = this.isNullable ? "null" : undefined;
    const { text } = this;
    if (this.null) return this.null.control.checked ? nothing : JSON.stringify(text);
    if (this.datatype === "BYTES") {
      const isChoice = this.inputs[0].type === "radio" || this.inputs[0].tagName === "SELECT";
      return text === "" && isChoice && this.isNullable ? "null" : JSON.stringify(text);
    }
    if (text === "") return nothing;
    return this.datatype === "BOOL" || LITERAL.test(text) ? text : otherwise(text);
  }

  /** Shows an error message beside the field; an empty message removes it. */
  tell(message = "") {
    this.error.textContent = message;
    this.error.hidden = message === "";
    this.element.classList.toggle("wrong", message !== "");
    for (const each of this.inputs) {
      if (message === "") each.removeAttribute("aria-invalid");
      else if (each.type !== "radio") each.setAttribute("aria-invalid", "true");
    }
  }
}

/** The form: its fields, and the record that they make. */
export class Form {
  constructor(element) {
    this.element = element;
    element.noValidate = true; // the service validates, so the page shows the same messages as the API
    this.fields = [...element.querySelectorAll("[data-feature]")].map((each) => new Field(each));
    for (const { null: box, inputs } of this.fields) {
      box?.control.addEventListener("change", () => {
        inputs[0].disabled = box.control.checked;
      });
    }
  }

  /** The record's members, name to JSON text, without required features that have no value. */
  record() {
    return new Map(this.fields.map((field) => [field.name, field.json]).filter(([, json]) => json !== undefined));
  }

  /** Shows a message beside the field of that name. Returns whether the field exists. */
  tell(name, message) {
    const field = this.fields.find((each) => each.name === name);
    field?.tell(message);
    return field !== undefined;
  }

  /** Removes all messages. Returns the first field whose text should be a number, but is not. */
  clear() {
    for (const field of this.fields) field.tell();
    return this.fields.find((field) => field.isNoNumber);
  }
}

/** Returns a record as JSON text. */
export function written(record) {
  return `{${[...record].map(([name, json]) => `${JSON.stringify(name)}:${json}`).join(",")}}`;
}

/** Returns a number that JSON does not allow as typed (.5, 007, +1) as valid JSON. The service rejects other text. */
function otherwise(text) {
  if (/^[+-]?\d+$/.test(text)) return BigInt(text.replace("+", "")).toString();
  const value = Number(text);
  return Number.isFinite(value) ? JSON.stringify(value) : JSON.stringify(text);
}
