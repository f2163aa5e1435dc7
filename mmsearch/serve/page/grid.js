/**
 * The pictures (or captions) that answer a query. Each has its place before it has loaded, so that nothing jumps; only
 * those near the screen hold their image.
 *
 * @typedef {import("./api.js").Hit} Hit
 * @typedef {import("./selection-rectangle.js").Box} Box
 * @typedef {import("./tile.js").TileEvents} TileEvents
 */
import { inRows, rowHeight } from "./layout.js";
import { Tile, pictureOf } from "./tile.js";

const NEAR = 8; // hits before the last one
const AROUND = "1200px 0px"; // how far from the screen images are held

export class Grid {
  /** @type {Tile[]} */
  #tiles = [];
  /** @type {WeakMap<Element, Tile>} */
  #tileOf = new WeakMap();
  #current = 0;
  #width = 0;
  #near = new IntersectionObserver((entries) => entries.forEach((entry) => this.#moved(entry)), { rootMargin: AROUND });

  /**
   * @param {HTMLElement} list
   * @param {TileEvents & {leave: () => void, further: () => void}} on
   *   leave: upwards, out of the first row. further: its last hit is near.
   */
  constructor(list, on) {
    this.list = list;
    this.on = on;
    new ResizeObserver(() => this.#arrange(false)).observe(list);
    list.addEventListener("keydown", (event) => this.#key(event));
    list.addEventListener("focusin", (event) => {
      const item = event.target instanceof Element ? event.target.closest("li") : null;
      const tile = item && this.#tileOf.get(item);
      if (tile) this.#makeCurrent(tile.place);
    });
  }

  get length() {
    return this.#tiles.length;
  }

  /** @param {number} place */
  hitAt(place) {
    return this.#tiles[place]?.hit ?? null;
  }

  /**
   * Where a picture stands; -1 where it does not.
   * @param {number} row
   */
  placeOf(row) {
    return this.#tiles.findIndex((tile) => pictureOf(tile.hit) === row);
  }

  /**
   * A hit is looked at: those after it are wanted soon.
   * @param {number} place
   */
  approach(place) {
    if (place > this.length - NEAR) this.on.further();
  }

  /** The tile that has the focus, or null. */
  get focused() {
    return this.list.contains(document.activeElement) ? (this.#tiles[this.#current] ?? null) : null;
  }

  tiles() {
    return this.#tiles;
  }

  /**
   * The rows from one place up to another.
   * @param {number} from @param {number} to
   */
  async rowsBetween(from, to) {
    return this.#tiles.slice(from, to).flatMap((tile) => pictureOf(tile.hit) ?? []);
  }

  /**
   * The rows of the pictures that a rectangle touches.
   * @param {Box} box
   */
  rowsIn(box) {
    const { left, top } = this.list.getBoundingClientRect();
    const [x, y] = [left + scrollX, top + scrollY];
    const touched = this.#tiles.filter(({ item }) => {
      const [across, down] = [x + item.offsetLeft, y + item.offsetTop];
      return across < box.right && across + item.offsetWidth > box.left && down < box.bottom && down + item.offsetHeight > box.top;
    });
    return touched.flatMap((tile) => pictureOf(tile.hit) ?? []);
  }

  /**
   * Shows these hits instead of what is there.
   * @param {readonly Hit[]} hits
   */
  show(hits) {
    this.#near.disconnect();
    this.#tiles = [];
    this.#current = 0;
    this.list.replaceChildren();
    // Among items of several kinds each hit names its own, and pictures stand as captions do.
    this.list.classList.toggle("captions", hits.some((hit) => typeof (hit.caption ?? hit.table) === "string"));
    this.append(hits);
    if (!hits.length) this.#arrange(true);
  }

  /** @param {readonly Hit[]} hits */
  append(hits) {
    const tiles = hits.map((hit, place) => new Tile(hit, this.#tiles.length + place, this.on));
    for (const tile of tiles) {
      this.#tileOf.set(tile.item, tile);
      tile.item.setAttribute("aria-posinset", String(tile.place + 1));
      tile.item.setAttribute("aria-setsize", "-1");
      tile.reachable = tile.place === 0;
    }
    this.#tiles.push(...tiles);
    this.#arrange(true);
    this.list.append(...tiles.map((tile) => tile.item));
    for (const tile of tiles) this.#near.observe(tile.item);
  }

  /**
   * Gives the focus to a hit. False where there is none in that place.
   * @param {number} place
   */
  focus(place) {
    const tile = this.#tiles[place];
    if (!tile) return false;
    tile.focus();
    tile.item.scrollIntoView({ block: "nearest" });
    return true;
  }

  /** Asks again for the images that did not come while the server was gone. */
  retry() {
    for (const tile of this.#tiles) tile.retry();
  }

  /** @param {IntersectionObserverEntry} entry */
  #moved(entry) {
    const tile = this.#tileOf.get(entry.target);
    if (entry.isIntersecting) tile?.load();
    else tile?.unload();
  }

  /**
   * Gives every tile its place.
   * @param {boolean} anew also where the width is what it was
   */
  #arrange(anew) {
    const width = this.list.clientWidth;
    if (!width || (width === this.#width && !anew)) return;
    this.#width = width;
    const pixels = window.devicePixelRatio || 1;
    if (this.list.classList.contains("captions")) {
      this.list.style.height = "";
      for (const tile of this.#tiles) tile.edge = 120 * pixels;
      return;
    }
    const ratios = this.#tiles.map(({ hit }) => (hit.width && hit.height ? hit.width / hit.height : 1));
    const gap = width < 560 ? 4 : 8;
    const { places, height } = inRows(ratios, width, rowHeight(width), gap);
    this.list.style.height = `${height}px`;
    places.forEach((place, number) => {
      const tile = this.#tiles[number];
      if (!tile) return;
      const { style } = tile.item;
      style.left = `${place.x}px`;
      style.top = `${place.y}px`;
      style.width = `${place.width}px`;
      style.height = `${place.height}px`;
      tile.edge = Math.max(place.width, place.height) * pixels;
    });
  }

  /** @param {number} place */
  #makeCurrent(place) {
    for (const one of [this.#current, place]) {
      const tile = this.#tiles[one];
      if (tile) tile.reachable = one === place;
    }
    this.#current = place;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const last = this.#tiles.length - 1;
    const to = /** @type {Record<string, () => number | null>} */ ({
      ArrowLeft: () => Math.max(0, this.#current - 1),
      ArrowRight: () => Math.min(last, this.#current + 1),
      ArrowUp: () => this.#beside(-1),
      ArrowDown: () => this.#beside(1),
      Home: () => 0,
      End: () => last,
    })[event.key]?.();
    if (to === undefined) return;
    event.preventDefault();
    if (to === null) this.on.leave();
    else this.focus(to);
  }

  /**
   * The place in the row above (-1) or below (1) that stands nearest; null above the first row.
   * @param {1 | -1} step
   */
  #beside(step) {
    const middle = (/** @type {HTMLElement} */ item) => item.offsetLeft + item.offsetWidth / 2;
    const from = this.#tiles[this.#current]?.item;
    if (!from) return null;
    let row = null;
    let best = null;
    let nearest = Infinity;
    for (let place = this.#current + step; this.#tiles[place]; place += step) {
      const { item } = /** @type {Tile} */ (this.#tiles[place]);
      if (item.offsetTop === from.offsetTop) continue;
      row ??= item.offsetTop;
      if (item.offsetTop !== row) break;
      const away = Math.abs(middle(item) - middle(from));
      if (away < nearest) [best, nearest] = [place, away];
    }
    return best ?? (step < 0 ? null : this.#current);
  }
}
