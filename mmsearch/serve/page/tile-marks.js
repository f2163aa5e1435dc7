/**
 * The thumbs of a picture among others: right, and wrong. Only those near the screen have them.
 *
 * @typedef {import("./api.js").Hit} Hit
 * @typedef {{markOf: (row: number) => number, mark: (hit: Hit, right: boolean) => void}} MarkEvents  markOf: the weight of
 *   a picture's mark; 0 where it has none. mark: the person says that a picture is right or wrong; again, and it is neither.
 */
import { element, icon } from "./elements.js";

/**
 * Whether a query can be taught by a hit: it is a picture, among pictures alone.
 * @param {Hit} hit
 */
export const isMarkable = (hit) => typeof (hit.caption ?? hit.table) !== "string";

export class TileMarks {
  /** @type {HTMLButtonElement[]} */
  #buttons = [];
  #reachable = false;

  /** @param {Hit} hit @param {string} name of it @param {HTMLElement} item of the list @param {MarkEvents} on */
  constructor(hit, name, item, on) {
    this.hit = hit;
    this.name = name;
    this.item = item;
    this.on = on;
    if (isMarkable(hit)) item.classList.toggle("right", on.markOf(hit.row_id) > 0);
  }

  /** @param {boolean} reached */
  set reachable(reached) {
    this.#reachable = reached;
    for (const button of this.#buttons) button.tabIndex = reached ? 0 : -1;
  }

  show() {
    if (this.#buttons.length || !isMarkable(this.hit)) return;
    this.#buttons = [this.#button("right", true), this.#button("wrong", false)];
    this.item.append(element("span", { class: "tile-marks" }, ...this.#buttons));
  }

  hide() {
    this.#buttons[0]?.parentElement?.remove();
    this.#buttons = [];
  }

  /** @param {"right" | "wrong"} word @param {boolean} right */
  #button(word, right) {
    const weight = this.on.markOf(this.hit.row_id);
    const pressed = right ? weight > 0 : weight < 0;
    const button = element(
      "button",
      { type: "button", class: `tile-mark ${word}`, tabindex: this.#reachable ? 0 : -1, "aria-pressed": String(pressed), title: `This is ${word} (${right ? "y" : "n"})` },
      icon(`${word}-mark`),
      element("span", { class: "unseen" }, `${this.name} is ${word}`),
    );
    button.addEventListener("click", () => this.on.mark(this.hit, right));
    return button;
  }
}
