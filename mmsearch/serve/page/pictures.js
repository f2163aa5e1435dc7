/**
 * Pictures to search with: taken from a drop, the clipboard or a file dialog, and sent to the server. They are kept
 * here too, to be shown, and to be sent again should the server forget them.
 */
import * as api from "./api.js";
import { byId } from "./elements.js";

/**
 * By content hash.
 * @type {Map<string, {file: Blob, preview: string}>}
 */
const held = new Map();

/**
 * Sends a picture. Its content hash.
 * @param {Blob} file
 */
export async function send(file) {
  const { picture } = await api.upload(file);
  if (!held.has(picture)) held.set(picture, { file, preview: URL.createObjectURL(file) });
  return picture;
}

/**
 * Sends again what the server no longer knows. False where it is not here either.
 * @param {string} hash
 */
export async function sendAgain(hash) {
  const known = held.get(hash);
  if (!known) return false;
  return (await api.upload(known.file)).picture === hash;
}

/**
 * What a part shows, best first: the file itself may be of a format that the browser does not know.
 * @param {string} hash
 */
export function previews(hash) {
  const known = held.get(hash);
  return known ? [known.preview, api.uploaded(hash)] : [api.uploaded(hash)];
}

let adding = false; // of the file dialog that is open

/**
 * Waits for pictures, from wherever they come.
 * @param {(files: File[], added: boolean) => void} take added: to those that are asked with, which else they replace
 */
export function awaitPictures(take) {
  const veil = byId("drop", HTMLElement);
  const choose = byId("file", HTMLInputElement);
  let own = false; // dragged from this page
  const brings = (/** @type {DragEvent} */ event) => !own && event.dataTransfer?.types.includes("Files");
  addEventListener("dragstart", () => (own = true));
  addEventListener("dragend", () => (own = false));
  addEventListener("dragover", (event) => {
    if (!brings(event)) return;
    event.preventDefault();
    veil.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) veil.hidden = true;
  });
  addEventListener("drop", (event) => {
    if (!brings(event)) return;
    event.preventDefault();
    veil.hidden = true;
    give(event.dataTransfer?.files, event.shiftKey);
  });
  document.addEventListener("paste", (event) => {
    const files = event.clipboardData?.files;
    if (!files?.length) return;
    event.preventDefault();
    give(files);
  });
  choose.addEventListener("change", () => {
    give(choose.files, adding);
    choose.value = "";
  });
  const give = (/** @type {FileList | null | undefined} */ files, /** @type {boolean} */ added = false) => {
    if (files?.length) take([...files], added);
  };
}

/**
 * Opens the file dialog.
 * @param {boolean} [added] what is chosen is added to the pictures that are asked with
 */
export function choosePictures(added = false) {
  adding = added;
  byId("file", HTMLInputElement).click();
}
