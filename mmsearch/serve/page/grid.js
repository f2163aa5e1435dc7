/**
 * The pictures (or captions) on the page. Each has its place before it has loaded, so that nothing jumps; only those
 * near the screen hold their image, so that memory stays bounded however far one scrolls.
 *
 * @typedef {import("./api.js").Hit} Hit
 * @typedef {{hit: Hit, item: HTMLLIElement, button: HTMLButtonElement, image: HTMLImageElement | null, edge: number,
 *   near: boolean, stuck: boolean}} Tile  near: to the screen. stuck: its image did not come because the server was gone.
 */
import * as api from "./api.js";
import { element, icon } from "./elements.js";
import { inRows, rowHeight } from "./layout.js";
import { absence, sentence, shown, split, standing } from "./text.js";

const AROUND = "1200px 0px"; // how far from the screen images are held

/**
 * The picture that a hit shows: its own row, or that of the caption's picture.
 * @param {Hit} hit
 * @returns {number | null}
 */
export function pictureOf(hit) {
  return typeof hit.caption === "string" ? (hit.image ?? null) : hit.row_id;
}

/**
 * What a hit is called.
 * @param {Hit} hit
 */
export function nameOf(hit) {
  return hit.caption ? sentence(hit.caption) : split(hit.path)[0] || `picture ${hit.row_id}`;
}

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
   * @param {{open: (place: number) => void, like: (hit: Hit) => void, leave: () => void, failed: (error: api.ApiError) => void}} on
   *   leave: upwards, out of the first row. failed: the server did not answer for an image.
   */
  constructor(list, on) {
    this.list = list;
    this.on = on;
    new ResizeObserver(() => this.#arrange(false)).observe(list);
    list.addEventListener("keydown", (event) => this.#key(event));
    list.addEventListener("focusin", (event) => {
      const item = event.target instanceof Element ? event.target.closest("li") : null;
      const tile = item && this.#tileOf.get(item);
      if (tile) this.#makeCurrent(this.#tiles.indexOf(tile));
    });
  }

  /** @returns {Hit[]} */
  get hits() {
    return this.#tiles.map((tile) => tile.hit);
  }

  get length() {
    return this.#tiles.length;
  }

  /** @param {number} place */
  hitAt(place) {
    return this.#tiles[place]?.hit ?? null;
  }

  /** The hit that has the focus, or null. */
  get focused() {
    return this.list.contains(document.activeElement) ? this.hitAt(this.#current) : null;
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
    const tiles = hits.map((hit, place) => this.#tile(hit, this.#tiles.length + place));
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
    tile.button.focus({ preventScroll: true });
    tile.item.scrollIntoView({ block: "nearest" });
    return true;
  }

  /** Asks again for the images that did not come while the server was gone. */
  retry() {
    for (const tile of this.#tiles.filter((one) => one.stuck)) {
      tile.stuck = false;
      if (tile.near) this.#load(tile);
    }
  }

  /** @param {Hit} hit @param {number} place @returns {Tile} */
  #tile(hit, place) {
    const row = pictureOf(hit);
    const name = nameOf(hit);
    const image = row === null ? null : element("img", { alt: hit.caption ? "" : name, draggable: false });
    const facts = element("span", { class: "tile-facts" });
    if (hit.caption) facts.append(element("span", { class: "tile-words", dir: "auto" }, name));
    else facts.append(element("span", { class: "tile-name", dir: "auto", "aria-hidden": "true" }, name));
    if (hit.caption && hit.path) facts.append(element("span", { class: "tile-path", dir: "auto" }, split(hit.path)[0]));
    if (hit.score !== null) facts.append(element("span", { class: "tile-score" }, standing(hit)));
    const button = element("button", { type: "button", class: "tile-open", tabindex: -1 });
    if (image) button.append(element("span", { class: "well" }, image));
    button.append(facts);
    const like = element("button", { type: "button", class: "tile-like", tabindex: -1, title: "More like this (m)" });
    like.append(icon("like"), element("span", { class: "unseen" }, `More like ${name}`));
    const item = element("li", { class: "tile", title: shown(hit.path ?? "") }, button, like);
    item.setAttribute("aria-posinset", String(place + 1));
    item.setAttribute("aria-setsize", "-1");
    /** @type {Tile} */
    const tile = { hit, item, button, image, edge: 320, near: false, stuck: false };
    this.#tileOf.set(item, tile);
    button.addEventListener("click", () => this.on.open(this.#tiles.indexOf(tile)));
    like.addEventListener("click", () => this.on.like(hit));
    image?.addEventListener("load", () => item.classList.add("loaded"));
    image?.addEventListener("error", () => this.#failed(tile));
    if (place === 0) button.tabIndex = like.tabIndex = 0;
    return tile;
  }

  /** @param {IntersectionObserverEntry} entry */
  #moved(entry) {
    const tile = this.#tileOf.get(entry.target);
    if (!tile) return;
    tile.near = entry.isIntersecting;
    if (tile.near) this.#load(tile);
    else if (tile.image?.hasAttribute("src")) {
      tile.image.removeAttribute("src");
      tile.item.classList.remove("loaded");
    }
  }

  /** @param {Tile} tile */
  #load(tile) {
    const row = pictureOf(tile.hit);
    if (row === null || !tile.image || tile.item.classList.contains("absent")) return;
    if (tile.hit.gone) this.#absent(tile, "The file is gone");
    else tile.image.src = api.thumbnail(row, tile.edge);
  }

  /** @param {Tile} tile */
  async #failed(tile) {
    const source = tile.image?.getAttribute("src");
    if (!source) return;
    const why = await api.whyNot(source);
    if (why === null) return this.#absent(tile, "It cannot be shown");
    if (why.passes || why.status === 401) {
      tile.stuck = true;
      return this.on.failed(why);
    }
    this.#absent(tile, absence(why));
  }

  /** @param {Tile} tile @param {string} words */
  #absent(tile, words) {
    tile.item.classList.add("absent");
    tile.image?.replaceWith(element("span", { class: "absent-words" }, icon("gone"), element("span", {}, words)));
    tile.image = null;
    const name = tile.item.querySelector(".tile-name");
    name?.removeAttribute("aria-hidden"); // the image spoke it
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
    for (const [one, index] of /** @type {const} */ ([[this.#current, -1], [place, 0]])) {
      for (const button of this.#tiles[one]?.item.querySelectorAll("button") ?? []) button.tabIndex = index;
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
