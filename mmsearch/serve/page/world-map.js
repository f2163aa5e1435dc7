/**
 * Where pictures were taken, on a map of the world of our own: nothing is fetched from elsewhere. Places that stand close
 * together are one; a press on it filters by the part of the world that it covers.
 *
 * @typedef {import("./api.js").Place} Place
 * @typedef {import("./query.js").Query} Query
 * @typedef {{south: number, west: number, north: number, east: number}} Box  In degrees.
 */
import * as api from "./api.js";
import { byId, element } from "./elements.js";
import { announce } from "./notices.js";
import { whereOf } from "./query.js";
import { count, counted } from "./text.js";

const APART = 84; // pixels between two places
const TOUCHING = 56; // pixels between the middles of two that lie upon each other
const PAUSE = 140; // milliseconds after the last move until places are asked for
const CLOSEST = 4000; // pixels a degree: about thirty metres a pixel
const STEPS = [30, 10, 5, 1, 0.5, 0.1, 0.05, 0.01]; // degrees between two lines
const LINES = 90; // pixels between two lines, at least
const MARGIN = 0.0005; // degrees around a place that is filtered by

export class WorldMap {
  #dialog = byId("map", HTMLDialogElement);
  #world = byId("world", HTMLElement);
  #places = byId("world-places", HTMLElement);
  #middle = { lat: 20, lon: 0 };
  #scale = 2; // pixels a degree
  #timer = 0;
  /** Whether all places are being counted, to which the map then moves, unless a person moves it first. */
  #opening = false;
  #ends = new AbortController();
  /** @type {string | null} */
  #where = null;
  /** @type {Place[]} */
  #shown = [];

  /** @param {{chosen: (box: string) => void, help: () => void, failed: (error: api.ApiError) => void}} on
   *   chosen: the part of the world that is wanted, as a filter holds it. */
  constructor(on) {
    this.on = on;
    const buttons = /** @type {[string, () => void][]} */ ([
      ["map-closer", () => this.#zoom(2)],
      ["map-farther", () => this.#zoom(0.5)],
      ["map-seen", () => this.#choose(this.#box())],
      ["map-close", () => this.#dialog.close()],
    ]);
    for (const [id, act] of buttons) byId(id, HTMLButtonElement).addEventListener("click", act);
    this.#world.addEventListener("wheel", (event) => {
      event.preventDefault();
      const { left, top } = this.#world.getBoundingClientRect();
      this.#zoom(2 ** (-event.deltaY / 240), event.clientX - left, event.clientY - top);
    }, { passive: false });
    this.#drags();
    this.#dialog.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#dialog.open && this.#draw()).observe(this.#world);
  }

  /**
   * Shows where the pictures are that a query leaves.
   * @param {Query} query
   */
  async open(query) {
    this.#where = whereOf(query, "box");
    this.#shown = [];
    this.#opening = true;
    this.#dialog.showModal();
    this.#scale = this.#farthest();
    this.#middle = { lat: 0, lon: 0 };
    this.#draw();
    const all = await this.#ask(WORLD, 1, 1);
    if (!all || !this.#opening) return;
    this.#opening = false;
    if (all[0]) this.#fit(all[0]);
    else this.#draw();
  }

  /** @param {Box} box */
  #fit({ south, west, north, east }) {
    this.#middle = { lat: (south + north) / 2, lon: (west + east) / 2 };
    const { clientWidth, clientHeight } = this.#world;
    this.#scale = Math.min(clientWidth / Math.max(1, 1.3 * (east - west)), clientHeight / Math.max(1, 1.3 * (north - south)));
    this.#draw();
  }

  /** The part of the world that is seen. @returns {Box} */
  #box() {
    const [across, down] = [this.#world.clientWidth / this.#scale / 2, this.#world.clientHeight / this.#scale / 2];
    const { lat, lon } = this.#middle;
    return { south: Math.max(-90, lat - down), west: Math.max(-180, lon - across), north: Math.min(90, lat + down), east: Math.min(180, lon + across) };
  }

  #farthest() {
    return Math.max(0.1, Math.min(this.#world.clientWidth / 360, this.#world.clientHeight / 180));
  }

  /**
   * Comes closer or goes away.
   * @param {number} times
   * @param {number} [x] the pixel that stays where it is; by default the middle @param {number} [y]
   */
  #zoom(times, x = this.#world.clientWidth / 2, y = this.#world.clientHeight / 2) {
    const before = this.#scale;
    this.#scale = Math.min(CLOSEST, Math.max(this.#farthest(), before * times));
    const by = 1 / before - 1 / this.#scale;
    this.#pan((x - this.#world.clientWidth / 2) * by, (this.#world.clientHeight / 2 - y) * by);
  }

  /**
   * Moves, by degrees.
   * @param {number} lon @param {number} lat
   */
  #pan(lon, lat) {
    this.#opening = false;
    this.#middle = { lat: Math.min(90, Math.max(-90, this.#middle.lat + lat)), lon: Math.min(180, Math.max(-180, this.#middle.lon + lon)) };
    this.#draw();
  }

  /** @param {number} lat @param {number} lon @returns {[number, number]} pixels */
  #at(lat, lon) {
    return [
      this.#world.clientWidth / 2 + (lon - this.#middle.lon) * this.#scale,
      this.#world.clientHeight / 2 - (lat - this.#middle.lat) * this.#scale,
    ];
  }

  #draw() {
    const [x, y] = this.#at(90, -180);
    const step = STEPS.filter((one) => one * this.#scale >= LINES).at(-1) ?? 30;
    const style = this.#world.style;
    style.setProperty("--x", `${x}px`);
    style.setProperty("--y", `${y}px`);
    style.setProperty("--step", `${step * this.#scale}px`);
    style.setProperty("--wide", `${360 * this.#scale}px`);
    style.setProperty("--high", `${180 * this.#scale}px`);
    this.#drawPlaces();
    clearTimeout(this.#timer);
    if (!this.#opening) this.#timer = window.setTimeout(() => void this.#refresh(), PAUSE);
  }

  async #refresh() {
    const across = Math.max(1, Math.round(this.#world.clientWidth / APART));
    const down = Math.max(1, Math.round(this.#world.clientHeight / APART));
    const places = await this.#ask(this.#box(), across, down);
    if (!places) return;
    this.#shown = places;
    this.#drawPlaces();
    announce(`${counted(places.reduce((all, { count }) => all + count, 0), "picture")} in this part of the world`);
  }

  /** @param {Box} box @param {number} across @param {number} down */
  async #ask(box, across, down) {
    this.#ends.abort();
    const { signal } = (this.#ends = new AbortController());
    try {
      return (await api.places({ ...box, across, down }, this.#where, signal)).places;
    } catch (error) {
      if (error instanceof api.ApiError) this.on.failed(error);
      else if (!api.isAbort(error)) throw error;
      return null;
    }
  }

  #drawPlaces() {
    const focused = this.#places.contains(document.activeElement) && document.activeElement?.getAttribute("data-row");
    const buttons = this.#together().map((place) => this.#place(place));
    this.#places.replaceChildren(...buttons);
    if (!focused) return;
    const again = buttons.find((button) => button.dataset.row === focused) ?? buttons[0] ?? byId("map-closer", HTMLElement);
    again.focus(); // where its place became part of another, keys go on to move the map
  }

  /** The places that are known; those that would lie upon each other are one. */
  #together() {
    /** @type {Place[]} */
    const apart = [];
    for (const place of this.#shown) {
      const [x, y] = this.#at(place.lat, place.lon);
      const near = apart.findIndex((other) => {
        const [otherX, otherY] = this.#at(other.lat, other.lon);
        return Math.hypot(x - otherX, y - otherY) < TOUCHING;
      });
      const other = apart[near];
      if (other) apart[near] = joined(other, place);
      else apart.push(place);
    }
    return apart;
  }

  /** @param {Place} place */
  #place(place) {
    const [x, y] = this.#at(place.lat, place.lon);
    const image = element("img", { alt: "", src: api.thumbnail(place.row_id, 320), draggable: "false" });
    const button = element("button", { type: "button", class: "place", "data-row": place.row_id }, image, element("span", {}, count(place.count)));
    image.addEventListener("error", () => image.remove());
    button.setAttribute("aria-label", `${counted(place.count, "picture")} at ${degrees(place.lat, "N", "S")}, ${degrees(place.lon, "E", "W")}: show them`);
    button.style.translate = `${Math.round(x)}px ${Math.round(y)}px`;
    button.addEventListener("click", () => this.#choose(place));
    return button;
  }

  /** @param {Box} box */
  #choose({ south, west, north, east }) {
    this.#dialog.close();
    this.on.chosen([south - MARGIN, west - MARGIN, north + MARGIN, east + MARGIN].map((one) => one.toFixed(4)).join(","));
  }

  #drags() {
    /** @type {{x: number, y: number} | null} */
    let from = null;
    this.#world.addEventListener("pointerdown", (event) => {
      if (event.target instanceof Element && event.target.closest("button")) return;
      from = { x: event.clientX, y: event.clientY };
      this.#world.setPointerCapture(event.pointerId);
    });
    this.#world.addEventListener("pointermove", (event) => {
      if (!from) return;
      this.#pan((from.x - event.clientX) / this.#scale, (event.clientY - from.y) / this.#scale);
      from = { x: event.clientX, y: event.clientY };
    });
    for (const end of ["pointerup", "pointercancel"]) this.#world.addEventListener(end, () => (from = null));
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const by = APART / this.#scale;
    const does = /** @type {Record<string, () => void>} */ ({
      "+": () => this.#zoom(2),
      "-": () => this.#zoom(0.5),
      ArrowLeft: () => this.#pan(-by, 0),
      ArrowRight: () => this.#pan(by, 0),
      ArrowUp: () => this.#pan(0, by),
      ArrowDown: () => this.#pan(0, -by),
      "?": () => this.on.help(),
    })[event.key];
    if (!does || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    does();
  }
}

/**
 * Two places as one, which stands where the larger one does.
 * @param {Place} larger @param {Place} other @returns {Place}
 */
function joined(larger, other) {
  return {
    ...larger,
    count: larger.count + other.count,
    south: Math.min(larger.south, other.south),
    west: Math.min(larger.west, other.west),
    north: Math.max(larger.north, other.north),
    east: Math.max(larger.east, other.east),
  };
}

const WORLD = { south: -90, west: -180, north: 90, east: 180 };

/**
 * How many pictures that a query leaves have a place.
 * @param {Query} query @param {AbortSignal} signal
 */
export async function countPlaces(query, signal) {
  const { places } = await api.places({ ...WORLD, across: 1, down: 1 }, whereOf(query, "box"), signal);
  return places[0]?.count ?? 0;
}

/** @param {number} angle @param {string} positive @param {string} negative */
function degrees(angle, positive, negative) {
  return `${Math.abs(angle).toFixed(2)}° ${angle < 0 ? negative : positive}`;
}
