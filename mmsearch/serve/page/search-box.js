/**
 * The search box: what is typed into it is asked after a pause, or at once with Enter.
 *
 * @typedef {import("./api.js").Gallery} Gallery
 */
import { byId } from "./elements.js";
import { counted } from "./text.js";

const PAUSE = 320; // milliseconds after the last letter

export class SearchBox {
  #field = byId("words", HTMLInputElement);
  #clear = byId("clear", HTMLButtonElement);
  #asked = ""; // the words of the query that the page shows
  #typing = false; // the address of what is being typed is one, not one a letter
  #timer = 0;

  /**
   * @param {{ask: (words: string, how?: "push" | "replace") => void, leave: () => boolean}} on
   *   ask: how the address is written. leave: downwards, to the pictures; false where there are none.
   */
  constructor(on) {
    this.on = on;
    this.#field.addEventListener("input", (event) => {
      this.#clear.hidden = !this.#field.value;
      clearTimeout(this.#timer);
      if (event instanceof InputEvent && event.isComposing) return;
      this.#askAfter(this.#field.value.trim() ? PAUSE : 0);
    });
    this.#field.addEventListener("compositionend", () => this.#askAfter(PAUSE));
    this.#field.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" && on.leave()) event.preventDefault();
      if (event.key !== "Escape" || !this.#field.value) return;
      event.preventDefault();
      this.#empty();
    });
    this.#clear.addEventListener("click", () => this.#empty());
    byId("box", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      clearTimeout(this.#timer);
      if (matchMedia("(pointer: coarse)").matches) this.#field.blur(); // the keyboard makes room for the pictures
      on.ask(this.#field.value);
    });
  }

  /**
   * Shows the words of a query.
   * @param {string} words
   */
  show(words) {
    this.#asked = words.trim();
    if (this.#field.value.trim() !== this.#asked) this.#field.value = words;
    this.#clear.hidden = !this.#field.value;
  }

  /**
   * Shows the words of the first query, and takes up what was typed before this script was there to hear it.
   * @param {() => void} show
   */
  begin(show) {
    const typed = this.#field.value;
    show();
    if (!typed.trim() || typed.trim() === this.#asked) return;
    this.#field.value = typed;
    this.#clear.hidden = false;
    this.#askAfter(PAUSE);
  }

  /** A query is being asked: what was typed so far is not asked again, and typing starts a new address. */
  stopTyping() {
    clearTimeout(this.#timer);
    this.#typing = false;
  }

  /**
   * Says what can be searched.
   * @param {Gallery} gallery
   */
  describe(gallery) {
    this.#field.placeholder = gallery.answers_text ? `Search ${counted(gallery.images, "picture")}` : "This gallery answers pictures only";
  }

  focus() {
    this.#field.focus();
  }

  /** Gives the focus to the box, so that typing replaces what stands in it. */
  select() {
    this.#field.focus();
    this.#field.select();
  }

  /** @param {number} milliseconds */
  #askAfter(milliseconds) {
    this.#timer = window.setTimeout(() => this.#askTyped(), milliseconds);
  }

  #askTyped() {
    if (this.#field.value.trim() === this.#asked) return;
    this.on.ask(this.#field.value, this.#typing ? "replace" : "push");
    this.#typing = true;
  }

  #empty() {
    this.#field.value = "";
    this.#field.focus();
    this.on.ask("");
  }
}
