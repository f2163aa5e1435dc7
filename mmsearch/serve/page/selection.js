/**
 * Several pictures, chosen to be done something with together. They are chosen by their boxes, by keys, by a rectangle, or
 * all at once; with Shift from the one before up to this one.
 *
 * @typedef {import("./tile.js").Tile} Tile
 * @typedef {{length: number, tiles: () => Iterable<Tile>, rowsBetween: (from: number, to: number) => Promise<number[]>}} Choosable
 *   The pictures that are shown. rowsBetween: the rows from one place up to another.
 */
import { byId, say } from "./elements.js";
import { announce } from "./notices.js";
import { counted } from "./text.js";
import { pictureOf } from "./tile.js";

export class Selection {
  /** @type {Set<number>} */
  #rows = new Set();
  #bar = byId("selection", HTMLElement);
  #button = byId("choose-several", HTMLButtonElement);
  /** The place that was chosen last. */
  #last = 0;
  /** Whether a press on a picture chooses it though nothing is chosen yet. */
  #choosing = false;

  /** @param {() => Choosable} list @param {(error: unknown) => void} failed */
  constructor(list, failed) {
    this.list = list;
    this.failed = failed;
    this.#button.addEventListener("click", () => {
      if (this.isActive) this.clear();
      else this.#choose(new Set(), true);
    });
    byId("selection-clear", HTMLButtonElement).addEventListener("click", () => this.clear());
  }

  /** Whether a press on a picture chooses it, and does not open it. */
  get isActive() {
    return this.#choosing || this.#rows.size > 0;
  }

  /** @returns {ReadonlySet<number>} */
  get rows() {
    return this.#rows;
  }

  /** @param {number | null} row */
  has(row) {
    return row !== null && this.#rows.has(row);
  }

  /**
   * Chooses a picture, or no longer; with Shift also all up to it.
   * @param {Tile} tile @param {boolean} through
   */
  toggle(tile, through) {
    const row = pictureOf(tile.hit);
    if (row === null) return;
    const from = this.#last;
    this.#last = tile.place;
    if (through) return void this.#through(from, tile.place);
    const rows = new Set(this.#rows);
    if (!rows.delete(row)) rows.add(row);
    this.#choose(rows);
  }

  /** Chooses all that are shown. */
  all() {
    void this.#through(0, this.list().length - 1);
  }

  clear() {
    this.#last = 0;
    this.#choose(new Set());
  }

  /** @param {ReadonlySet<number>} rows */
  replace(rows) {
    this.#choose(new Set(rows));
  }

  /** @param {number} one @param {number} other */
  async #through(one, other) {
    try {
      const rows = await this.list().rowsBetween(Math.min(one, other), Math.max(one, other) + 1);
      this.#choose(new Set([...this.#rows, ...rows]));
    } catch (error) {
      this.failed(error);
    }
  }

  /** @param {Set<number>} rows @param {boolean} [choosing] */
  #choose(rows, choosing = false) {
    this.#choosing = choosing;
    this.#rows = rows;
    document.body.classList.toggle("choosing", this.isActive);
    this.#button.setAttribute("aria-pressed", String(this.isActive));
    this.#bar.hidden = !rows.size;
    const words = `${counted(rows.size, "picture")} chosen`;
    if (rows.size) announce(words);
    say(byId("selection-count", HTMLElement), rows.size ? words : "");
    for (const tile of this.list().tiles()) tile.chosen = this.has(pictureOf(tile.hit));
  }
}
