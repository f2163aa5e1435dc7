/** Text copied to the clipboard, also where the browser gives a page no clipboard. */
import { element } from "./elements.js";

/**
 * Copies a text. False where the browser does not let it be copied.
 * @param {string} text
 * @param {HTMLElement} inside the dialog that is open: what is outside of it cannot be selected
 */
export async function copyText(text, inside) {
  return (await copyByClipboard(text)) || copyBySelection(text, inside);
}

/** @param {string} text */
async function copyByClipboard(text) {
  try {
    await navigator.clipboard.writeText(text); // there on https and on this machine alone
    return true;
  } catch {
    return false;
  }
}

/**
 * The way before there was a clipboard to ask.
 * @param {string} text
 * @param {HTMLElement} inside
 */
function copyBySelection(text, inside) {
  const field = element("textarea", { class: "unseen", readonly: true, "aria-hidden": "true" });
  field.value = text;
  const focused = document.activeElement;
  inside.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return copied;
}
