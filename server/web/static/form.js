/**
 * The form's fields to the record that is asked about, as JSON text: a number stands in it as it was typed, to its last digit.
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
    /** The range of its curve, where it has one. */
    this.range = low === undefined ? undefined : [Number(low), Number(high)];
    this.isWhole = !datatype.startsWith("FP");
    this.element = element;
    this.error = element.querySelector(".error");
    this.inputs = [...element.querySelectorAll("[name]")];
    this.null = element.querySelector(".null");
    if (this.null) this.null.hidden = false;
  }

  /** Whether what stands there is no number at all: the browser tells it from an empty field, its value doesn't. */
  get isNoNumber() {
    return this.inputs[0].validity.badInput;
  }

  /** What stands there, as text. */
  get text() {
    const [first] = this.inputs;
    return first.type === "radio" ? (this.inputs.find((each) => each.checked)?.value ?? "") : first.value;
  }

  /** The value as JSON text; undefined where there is none, and null may not be. */
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

  /** Shows what is wrong with it; nothing where it is right. */
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
    element.noValidate = true; // the service tells what is wrong, in the words that every caller gets
    this.fields = [...element.querySelectorAll("[data-feature]")].map((each) => new Field(each));
    for (const { null: box, inputs } of this.fields) {
      box?.control.addEventListener("change", () => {
        inputs[0].disabled = box.control.checked;
      });
    }
  }

  /** The record's members, name to JSON text; what is required and missing is left out. */
  record() {
    return new Map(this.fields.map((field) => [field.name, field.json]).filter(([, json]) => json !== undefined));
  }

  /** Shows a message beside the field of that name. Returns whether there is one. */
  tell(name, message) {
    const field = this.fields.find((each) => each.name === name);
    field?.tell(message);
    return field !== undefined;
  }

  /** Takes away what was told. Returns the first field in which no number stands that should. */
  clear() {
    for (const field of this.fields) field.tell();
    return this.fields.find((field) => field.isNoNumber);
  }
}

/** Returns a record as JSON text. */
export function written(record) {
  return `{${[...record].map(([name, json]) => `${JSON.stringify(name)}:${json}`).join(",")}}`;
}

/** Returns a number that JSON writes otherwise, as JSON does: .5, 007, +1. Text that is no number is left to be refused. */
function otherwise(text) {
  if (/^[+-]?\d+$/.test(text)) return BigInt(text.replace("+", "")).toString();
  const value = Number(text);
  return Number.isFinite(value) ? JSON.stringify(value) : JSON.stringify(text);
}
