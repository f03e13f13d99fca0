/**
 * Show the field for an API key after the service rejects a request without a valid key.
 * @module
 */
import { KEY_NEEDED, keepKey } from "./call.js";

/** Shows the field when a key is needed; calls `again` when a key is entered. */
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
