/**
 * The field for an API key: there from the first call that is refused without one.
 * @module
 */
import { KEY_NEEDED, keepKey } from "./call.js";

/** Shows the field when it is needed; `again` repeats what was refused. */
export function askForKey(form, again) {
  const input = form.querySelector("input");
  const error = form.querySelector(".error");
  document.addEventListener(KEY_NEEDED, ({ detail }) => {
    const wasHidden = form.hidden;
    form.hidden = false;
    error.textContent = detail.isWrong ? "This service does not accept that key." : "";
    error.hidden = !detail.isWrong;
    if (wasHidden) input.focus();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    keepKey(input.value.trim());
    input.value = "";
    form.hidden = true;
    again();
  });
}
