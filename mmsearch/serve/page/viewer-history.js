/**
 * The large view and the address: the address names the picture that is open, and "back" closes it.
 *
 * @typedef {import("./api.js").ApiError} ApiError
 * @typedef {import("./api.js").Hit} Hit
 * @typedef {import("./current-question.js").CurrentQuestion} CurrentQuestion
 * @typedef {import("./grid.js").Grid} Grid
 */
import { pictureOf } from "./grid.js";
import { Viewer } from "./viewer.js";

const NEAR = 8; // hits before the last one of the grid

export class ViewerHistory {
  /**
   * @param {{grid: Grid, question: CurrentQuestion}} parts of the page
   * @param {{further: () => void, like: (hit: Hit) => void, help: () => void, failed: (error: ApiError) => void}} on
   *   further: the last hit of the grid is near. help: show the keys.
   */
  constructor({ grid, question }, on) {
    this.grid = grid;
    this.question = question;
    this.viewer = new Viewer({
      at: (place) => grid.hitAt(place),
      moved: (hit, place) => {
        history.replaceState(history.state, "", question.addressWith(pictureOf(hit)));
        if (place > grid.length - NEAR) on.further();
      },
      closed: () => this.close(),
      like: on.like,
      help: on.help,
      failed: on.failed,
    });
  }

  /**
   * Opens a picture of the grid.
   * @param {number} place
   */
  open(place) {
    const hit = this.grid.hitAt(place);
    if (!hit) return;
    history.pushState({ opened: true }, "", this.question.addressWith(pictureOf(hit)));
    this.viewer.show(hit, place);
  }

  /** Closes what is open, and takes it out of the address. */
  close() {
    if (!this.viewer.isOpen) return;
    if (history.state?.opened) return history.back(); // which closes it, so that "back" on a phone does the same
    history.replaceState({}, "", this.question.addressWith(null));
    this.#hide();
  }

  /** Closes what is open; the address is about to change anyway. */
  leave() {
    if (this.viewer.isOpen) this.viewer.hide();
  }

  /** Opens the picture that the address names, and closes the one that it does not. */
  follow() {
    const named = new URLSearchParams(location.search).get("view");
    const row = named && /^\d{1,18}$/.test(named) ? Number(named) : null;
    if (row === null) return this.viewer.isOpen ? this.#hide() : undefined;
    const place = this.grid.hits.findIndex((hit) => pictureOf(hit) === row);
    const hit = this.grid.hitAt(place);
    if (hit) this.viewer.show(hit, place);
    else void this.viewer.showRow(row);
  }

  #hide() {
    const { place } = this.viewer;
    this.viewer.hide();
    if (place >= 0) this.grid.focus(place);
  }
}
