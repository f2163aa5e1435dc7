/**
 * All pictures by the months in which they were taken, newest first. However many there are, only those near the screen
 * are part of the page.
 *
 * @typedef {import("./api.js").Month} Month
 * @typedef {import("./selection-rectangle.js").Box} Box
 * @typedef {import("./timeline-layout.js").Section} Section
 * @typedef {import("./tile.js").TileEvents} TileEvents
 * @typedef {{element: HTMLElement, list: HTMLOListElement}} Drawn  A month on the page, and the list of its pictures.
 */
import { byId, element } from "./elements.js";
import { count, counted, monthName } from "./text.js";
import { Tile } from "./tile.js";
import { HEADING, TimelineLayout } from "./timeline-layout.js";
import { TimelinePictures } from "./timeline-pictures.js";
import { TimelineRail } from "./timeline-rail.js";

const AROUND = 700; // pixels above and below the screen that are part of the page
const AHEAD = 40; // pictures on either side of the one in the large view

export class Timeline {
  #box = byId("timeline", HTMLElement);
  #months = byId("months", HTMLElement);
  /** @type {readonly Month[]} */
  #counted = [];
  #layout = new TimelineLayout([], 1);
  /** @type {Map<number, Drawn>} */
  #sections = new Map();
  /**
   * What stands on the page, by place: a tile, or what keeps its place until it is known.
   * @type {Map<number, Tile | HTMLLIElement>}
   */
  #tiles = new Map();
  #current = 0;
  #waiting = false;
  #rail = new TimelineRail((y) => scrollTo(0, this.#start + y - barHeight()));

  /**
   * @param {TileEvents & {leave: () => void, came: () => void, changed: () => void}} on
   *   leave: upwards, out of the first row. came: pictures that were wanted. changed: the gallery is no longer the one
   *   that was counted.
   */
  constructor(on) {
    this.on = on;
    this.pictures = new TimelinePictures({
      came: () => {
        this.#draw();
        on.came();
      },
      changed: on.changed,
      failed: on.failed,
    });
    addEventListener("scroll", () => this.#drawSoon(), { passive: true });
    addEventListener("resize", () => this.#drawSoon());
    new ResizeObserver(() => this.#arrange()).observe(this.#months);
    this.#months.addEventListener("keydown", (event) => this.#key(event));
    this.#months.addEventListener("focusin", (event) => {
      const item = event.target instanceof Element ? event.target.closest("li") : null;
      if (item?.dataset.place) this.#makeCurrent(Number(item.dataset.place));
    });
  }

  get isShown() {
    return !this.#box.hidden;
  }

  get length() {
    return this.#layout.length;
  }

  /** The tile that has the focus, or null. */
  get focused() {
    const tile = this.#months.contains(document.activeElement) ? this.#tiles.get(this.#current) : null;
    return tile instanceof Tile ? tile : null;
  }

  /** Those on the page. */
  tiles() {
    return [...this.#tiles.values()].flatMap((tile) => (tile instanceof Tile ? [tile] : []));
  }

  /**
   * The rows from one place up to another.
   * @param {number} from @param {number} to
   */
  rowsBetween(from, to) {
    return this.pictures.rowsBetween(from, to);
  }

  /**
   * The rows of the pictures that a rectangle touches, as far as they are known.
   * @param {Box} box
   */
  rowsIn(box) {
    const { left } = this.#months.getBoundingClientRect();
    const places = this.#layout.placesIn(box.left - left - scrollX, box.top - this.#start, box.right - left - scrollX, box.bottom - this.#start);
    return places.flatMap((place) => this.hitAt(place)?.row_id ?? []);
  }

  /**
   * Shows these months.
   * @param {readonly Month[]} months @param {string | null} where what of the gallery @param {number} version of it
   */
  show(months, where, version) {
    this.#box.hidden = false;
    this.#counted = months;
    this.#current = 0;
    this.pictures.begin(where, version);
    this.#clear();
    this.#arrange();
  }

  hide() {
    this.#box.hidden = true;
    this.#counted = [];
    this.#clear();
  }

  /** @param {number} place */
  hitAt(place) {
    return this.pictures.at(place);
  }

  /** @param {number} row */
  placeOf(row) {
    return this.pictures.placeOf(row);
  }

  /** @param {number} place */
  approach(place) {
    this.pictures.want(place - AHEAD, Math.min(this.length, place + AHEAD));
  }

  /**
   * Gives the focus to a picture. False where there is none in that place.
   * @param {number} place by default the first on the screen
   */
  focus(place = this.firstVisible()) {
    if (!this.isShown || place < 0 || place >= this.length) return false;
    const { index, y } = this.#layout.position(place);
    const top = this.#start + (this.#layout.sections[index]?.top ?? 0) + y;
    const high = barHeight() + HEADING;
    if (top < scrollY + high) scrollTo(0, top - high);
    else if (top + this.#layout.side > scrollY + innerHeight) scrollTo(0, top + this.#layout.side - innerHeight + 16);
    this.#makeCurrent(place);
    this.#draw();
    const tile = this.#tiles.get(place);
    if (tile instanceof Tile) tile.focus();
    else tile?.focus({ preventScroll: true });
    return true;
  }

  /** Asks again for what did not come while the server was gone. */
  retry() {
    if (!this.isShown) return;
    for (const tile of this.#tiles.values()) if (tile instanceof Tile) tile.retry();
    this.#draw();
  }

  /** Where it begins, in pixels of the page. */
  get #start() {
    return this.#months.getBoundingClientRect().top + scrollY;
  }

  /** The place of the first picture on the screen; -1 where there is none. */
  firstVisible() {
    const y = scrollY + barHeight() - this.#start;
    const section = this.#layout.sections[this.#layout.sectionAt(Math.max(0, y))];
    if (!section) return -1;
    return Math.min(this.#layout.between(section, Math.max(0, y), Infinity)[0], section.first + section.count - 1);
  }

  /** Gives everything its place, where the width is another one or the months are. */
  #arrange() {
    if (!this.isShown || !this.#months.clientWidth) return;
    const before = this.#layout;
    this.#layout = new TimelineLayout(this.#counted, this.#months.clientWidth);
    if (before.side !== this.#layout.side || before.columns !== this.#layout.columns) this.#clear();
    this.#months.style.height = `${this.#layout.height}px`;
    this.#rail.show(this.#layout);
    this.#draw();
  }

  #clear() {
    for (const tile of this.#tiles.values()) if (tile instanceof Tile) tile.unload();
    this.#tiles.clear();
    this.#sections.clear();
    this.#months.replaceChildren();
  }

  #drawSoon() {
    if (this.#waiting || !this.isShown) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.#draw();
    });
  }

  /** Puts what is near the screen on the page, and takes off what is not. */
  #draw() {
    if (!this.isShown || !this.length) return;
    const { sections } = this.#layout;
    const top = scrollY - this.#start;
    const [above, below] = [top - AROUND, top + innerHeight + AROUND];
    const first = this.#layout.sectionAt(Math.max(0, above));
    /** @type {Map<number, number>} by place, the section */
    const wanted = new Map();
    for (let index = first; (sections[index]?.top ?? Infinity) < below; index += 1) {
      const section = /** @type {Section} */ (sections[index]);
      const [from, to] = this.#layout.between(section, above, below);
      for (let place = from; place < to; place += 1) wanted.set(place, index);
      if (from === to) this.#section(index); // its name alone
    }
    const places = [...wanted.keys()];
    if (places.length) this.pictures.want(Math.min(...places), Math.max(...places) + 1);
    if (this.#months.contains(document.activeElement)) wanted.set(this.#current, this.#layout.sectionOf(this.#current));
    for (const [place, tile] of [...this.#tiles]) {
      if (!wanted.has(place)) this.#remove(place, tile);
      else if (!(tile instanceof Tile) && this.hitAt(place)) this.#replace(place, tile);
    }
    for (const [place, index] of [...wanted].sort(([one], [other]) => one - other)) {
      if (!this.#tiles.has(place)) this.#add(place, index);
    }
    for (const [index, { element: drawn, list }] of this.#sections) {
      const section = /** @type {Section} */ (sections[index]);
      if (list.childElementCount || (section.top + section.height > above && section.top < below)) continue;
      drawn.remove();
      this.#sections.delete(index);
    }
    this.#makeCurrent(this.#tiles.has(this.#current) ? this.#current : Math.max(0, this.firstVisible()));
    this.#rail.moveTo(Math.max(0, top + barHeight()), innerHeight - barHeight());
  }

  /** @param {number} place @param {Tile | HTMLLIElement} tile */
  #remove(place, tile) {
    if (tile instanceof Tile) tile.unload();
    this.#tiles.delete(place);
    (tile instanceof Tile ? tile.item : tile).remove();
  }

  /**
   * A picture takes the place that was kept for it, and the focus.
   * @param {number} place @param {HTMLLIElement} kept
   */
  #replace(place, kept) {
    const focused = kept === document.activeElement;
    const tile = this.#add(place, this.#layout.sectionOf(place));
    if (focused) tile.focus();
    kept.remove();
  }

  /** @param {number} place @param {number} index of its section */
  #add(place, index) {
    const section = /** @type {Section} */ (this.#layout.sections[index]);
    const hit = this.hitAt(place);
    const tile = hit ? new Tile(hit, place, this.on) : placeholder(section.month);
    const item = tile instanceof Tile ? tile.item : tile;
    const { x, y } = this.#layout.position(place);
    item.dataset.place = String(place);
    item.setAttribute("aria-posinset", String(place - section.first + 1));
    item.setAttribute("aria-setsize", String(section.count));
    item.style.translate = `${x}px ${y}px`;
    item.style.width = item.style.height = `${this.#layout.side}px`;
    const { list } = this.#section(index);
    const after = [...list.children].find((other) => Number(/** @type {HTMLElement} */ (other).dataset.place) > place);
    list.insertBefore(item, after ?? null);
    this.#tiles.set(place, tile);
    if (tile instanceof Tile) {
      tile.edge = this.#layout.side * (window.devicePixelRatio || 1);
      tile.reachable = place === this.#current;
      tile.load();
    }
    return tile;
  }

  /** @param {number} index @returns {Drawn} */
  #section(index) {
    const known = this.#sections.get(index);
    if (known) return known;
    const section = /** @type {Section} */ (this.#layout.sections[index]);
    const name = monthName(section.month);
    const title = element("h3", { class: "month", id: `month-${section.month ?? "none"}` }, name, " ");
    title.append(element("span", { class: "month-count", title: counted(section.count, "picture") }, count(section.count)));
    const list = element("ol", { "aria-labelledby": title.id });
    const drawn = element("section", { class: "month-pictures" }, title, list);
    drawn.style.top = `${section.top}px`;
    drawn.style.height = `${section.height}px`;
    const after = [...this.#sections].filter(([other]) => other > index).sort(([one], [other]) => one - other)[0];
    this.#months.insertBefore(drawn, after?.[1].element ?? null);
    this.#sections.set(index, { element: drawn, list });
    return { element: drawn, list };
  }

  /** @param {number} place */
  #makeCurrent(place) {
    for (const one of [this.#current, place]) {
      const tile = this.#tiles.get(one);
      if (tile instanceof Tile) tile.reachable = one === place;
    }
    this.#current = place;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const to = /** @type {Record<string, () => number | null>} */ ({
      ArrowLeft: () => Math.max(0, this.#current - 1),
      ArrowRight: () => Math.min(this.length - 1, this.#current + 1),
      ArrowUp: () => this.#layout.beside(this.#current, -1),
      ArrowDown: () => this.#layout.beside(this.#current, 1),
      Home: () => 0,
      End: () => this.length - 1,
    })[event.key]?.();
    if (to === undefined) return;
    event.preventDefault();
    if (to === null) this.on.leave();
    else this.focus(to);
  }
}

/** Pixels of the screen that the bar covers. */
function barHeight() {
  return byId("bar", HTMLElement).offsetHeight;
}

/** @param {string | null} month */
function placeholder(month) {
  return element("li", { class: "tile", tabindex: -1, "aria-label": `A picture of ${monthName(month)}, on its way` });
}
