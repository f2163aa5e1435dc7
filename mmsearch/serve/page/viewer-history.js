/**
 * The large view and the address: the address names the picture that is open, and "back" closes it.
 *
 * @typedef {import("./api.js").ApiError} ApiError
 * @typedef {import("./api.js").Hit} Hit
 * @typedef {import("./current-query.js").CurrentQuery} CurrentQuery
 * @typedef {{length: number, hitAt: (place: number) => Hit | null, placeOf: (row: number) => number,
 *   approach: (place: number) => void, focus: (place: number) => boolean}} PictureList  The pictures that are shown.
 *   approach: a hit is looked at, and those around it are wanted soon.
 */
import { pictureOf } from "./tile.js";
import { Viewer } from "./viewer.js";

export class ViewerHistory {
  #closing = false;

  /**
   * @param {{list: () => PictureList, query: CurrentQuery}} parts of the page
   * @param {{like: (hit: Hit) => void, slides: () => void, help: () => void, failed: (error: ApiError) => void,
   *   shown: (hit: Hit | null) => void, whole: (row: number) => void, keys: Readonly<Record<string, (hit: Hit) => void>>}} on
   *   help: show the keys. shown, whole, keys: as of `Viewer`.
   */
  constructor({ list, query }, on) {
    this.list = list;
    this.query = query;
    this.viewer = new Viewer({
      at: (place) => list().hitAt(place),
      moved: (hit, place) => {
        history.replaceState(history.state, "", query.addressWith(pictureOf(hit)));
        list().approach(place);
      },
      closed: () => this.close(),
      like: on.like,
      slides: on.slides,
      help: on.help,
      failed: on.failed,
      shown: on.shown,
      whole: on.whole,
      keys: on.keys,
    });
  }

  /**
   * Opens a picture of the list.
   * @param {number} place
   */
  open(place) {
    const hit = this.list().hitAt(place);
    if (!hit) return;
    this.list().approach(place);
    history.pushState({ opened: true }, "", this.query.addressWith(pictureOf(hit)));
    this.viewer.show(hit, place);
  }

  /** Another query is asked while a picture is open: "back" closes it, and leads to the query before only then. */
  keepOpen() {
    const row = this.viewer.hit && pictureOf(this.viewer.hit);
    history.replaceState({}, "", this.query.addressWith(null));
    history.pushState({ opened: true }, "", this.query.addressWith(row));
  }

  /**
   * Shows another picture of the list in the place of the one that is open.
   * @param {number} place
   */
  replace(place) {
    const hit = this.list().hitAt(place);
    if (!hit) return this.close();
    history.replaceState(history.state, "", this.query.addressWith(pictureOf(hit)));
    this.viewer.show(hit, place);
  }

  /** Closes what is open, and takes it out of the address. */
  close() {
    if (!this.viewer.isOpen || this.#closing) return;
    if (history.state?.opened) {
      this.#closing = true; // a second press, before it is closed, would lead further back
      return history.back(); // which closes it, so that "back" on a phone does the same
    }
    history.replaceState({}, "", this.query.addressWith(null));
    this.#hide();
  }

  /** Closes what is open; the address is about to change anyway. */
  leave() {
    this.#closing = false;
    if (this.viewer.isOpen) this.viewer.hide();
  }

  /** Opens the picture that the address names, and closes the one that it does not. */
  follow() {
    this.#closing = false;
    const named = new URLSearchParams(location.search).get("view");
    const row = named && /^\d{1,18}$/.test(named) ? Number(named) : null;
    if (row === null) return this.viewer.isOpen ? this.#hide() : undefined;
    const place = this.list().placeOf(row);
    const hit = this.list().hitAt(place);
    if (hit && hit === this.viewer.hit) return; // it was opened while the page was still told about the gallery
    if (hit) this.viewer.show(hit, place);
    else void this.viewer.showRow(row);
  }

  #hide() {
    const { place } = this.viewer;
    this.viewer.hide();
    if (place >= 0) this.list().focus(place);
  }
}
