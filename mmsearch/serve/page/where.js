/**
 * Where in a picture what is asked is seen: for each phrase its box over the picture in the large view, the heat of the
 * one that is looked at, and by how much the score falls without it. It takes the server some hundred encodings, and so is
 * only done where a person asks for it; a preview stands there meanwhile.
 *
 * @typedef {import("./api.js").Hit} Hit
 * @typedef {import("./api.js").Region} Region
 * @typedef {import("./query.js").Query} Query
 */
import * as api from "./api.js";
import { byId, element, say } from "./elements.js";
import { announce } from "./notices.js";
import { isAsked, partBodies } from "./query.js";
import { counted, shown } from "./text.js";
import { pictureOf } from "./tile.js";

const COLOURS = ["#ffd23f", "#4cc9f0", "#ff7eb6", "#7ae582", "#ff9f43", "#c0a8ff"];
const REMEMBERED = 12;
const MOST_OPAQUE = 190; // of 255: the picture is seen through the hottest place

export class Where {
  #button = byId("viewer-where", HTMLButtonElement);
  #panel = byId("where-panel", HTMLElement);
  #words = byId("where-words", HTMLElement);
  #busy = byId("where-busy", HTMLElement);
  #list = byId("where-phrases", HTMLElement);
  #layer = byId("viewer-regions", HTMLElement);
  #picture = byId("viewer-picture", HTMLImageElement);
  #waiting = new AbortController();
  /** @type {Hit | null} */
  #hit = null;
  /** @type {Map<string, Region[]>} */
  #known = new Map();

  /** @param {() => Query} query @param {(error: unknown) => void} failed */
  constructor(query, failed) {
    this.query = query;
    this.failed = failed;
    this.#button.addEventListener("click", () => this.toggle());
    new ResizeObserver(() => this.#align()).observe(this.#picture);
    byId("stage", HTMLElement).addEventListener("scroll", () => this.#align(), { passive: true });
  }

  /**
   * Another picture is in the large view, or the same one again.
   * @param {Hit | null} hit null: none is open
   */
  shown(hit) {
    if (hit !== null && hit === this.#hit) return;
    this.#hide();
    this.#hit = hit;
    this.#button.hidden = hit === null || hit.gone || pictureOf(hit) === null || !isAsked(this.query());
  }

  toggle() {
    if (this.#button.hidden) return;
    if (this.#button.getAttribute("aria-pressed") === "true") this.#hide();
    else void this.#find();
  }

  async #find() {
    const row = this.#hit && pictureOf(this.#hit);
    if (row === null) return;
    const query = this.query();
    const key = JSON.stringify([row, partBodies(query)]);
    const waiting = (this.#waiting = new AbortController());
    this.#button.setAttribute("aria-pressed", "true");
    this.#panel.hidden = false;
    this.#list.replaceChildren();
    try {
      const known = this.#known.get(key) ?? (await this.#asked(row, query, waiting.signal));
      if (waiting.signal.aborted) return;
      this.#known.delete(key);
      this.#known.set(key, known);
      for (const old of [...this.#known.keys()].slice(0, -REMEMBERED)) this.#known.delete(old);
      this.#show(known);
    } catch (error) {
      if (waiting.signal.aborted) return;
      if (!(error instanceof api.ApiError) || error.unreachable || error.status === 401) {
        this.#hide();
        return this.failed(error);
      }
      this.#say(shown(error.message));
    } finally {
      if (waiting === this.#waiting) this.#busy.hidden = true;
    }
  }

  /** @param {number} row @param {Query} query @param {AbortSignal} signal */
  async #asked(row, query, signal) {
    this.#busy.hidden = false;
    this.#say("Looking: parts of the picture are hidden one after the other …");
    await this.#preview(row, query, signal);
    return (await api.regions(row, query, { signal })).regions;
  }

  /**
   * Shows what a quick look finds, until it is measured. Models that have no quick way have none.
   * @param {number} row @param {Query} query @param {AbortSignal} signal
   */
  async #preview(row, query, signal) {
    try {
      const { regions } = await api.regions(row, query, { quick: true, signal });
      if (signal.aborted || !regions.some(({ box }) => box !== null)) return;
      this.#draw(regions);
      this.#say("A preview. Parts of the picture are being hidden one after the other …");
    } catch (error) {
      if (!(error instanceof api.ApiError) || error.unreachable || error.status === 401) throw error;
    }
  }

  /** @param {Region[]} regions */
  #show(regions) {
    const found = regions.filter(({ box }) => box !== null);
    const nothing = regions.length > 1 ? "Nothing in the picture speaks for any of it more than the rest does." : "Nothing in the picture speaks for it more than the rest does.";
    this.#say(found.length ? "" : nothing);
    announce(found.length ? `${counted(found.length, "phrase")} of ${regions.length} with a place in the picture` : nothing);
    this.#draw(regions);
  }

  /**
   * The phrases in the list and their boxes over the picture. The phrase that was looked at in a preview still is.
   * @param {Region[]} regions
   */
  #draw(regions) {
    const looked = [...this.#list.children].findIndex((entry) => entry.querySelector("[aria-pressed=true]"));
    const focused = this.#list.contains(document.activeElement);
    const boxes = element("div");
    const heat = element("canvas", { "aria-hidden": "true" });
    this.#layer.replaceChildren(heat, boxes);
    this.#layer.hidden = regions.every(({ box }) => box === null);
    this.#list.replaceChildren(...regions.map((region, number) => this.#entry(region, number, heat, boxes)));
    const current = this.#list.children[looked]?.querySelector("button") ?? this.#list.querySelector("button");
    current?.click();
    if (focused) current?.focus();
    this.#align();
  }

  /**
   * A phrase in the list, and its box.
   * @param {Region} region @param {number} number @param {HTMLCanvasElement} heat @param {HTMLElement} boxes
   */
  #entry(region, number, heat, boxes) {
    const colour = COLOURS[number % COLOURS.length] ?? "";
    const name = element("span", { class: "where-phrase", dir: "auto" }, shown(region.phrase));
    if (region.box === null) {
      return element("li", { class: "nowhere" }, element("span", { class: "where-number" }, "–"), name, element("span", { class: "where-fall" }, "nothing stands out"));
    }
    const badge = element("span", { class: "where-number" }, String(number + 1));
    const fall = element("span", { class: "where-fall", title: "By how much the score of all that is asked changes where this box is hidden" }, `${signed(-region.fall)} without it`);
    const button = element("button", { type: "button", "aria-pressed": "false" }, badge, name, fall);
    const box = element("div", { class: "where-box" }, element("span", { class: "where-number", "aria-hidden": "true" }, String(number + 1)));
    for (const one of [badge, box]) one.style.setProperty("--colour", colour);
    const [left, top, right, bottom] = region.box.map((share) => `${(100 * share).toFixed(2)}%`);
    Object.assign(box.style, { left, top, width: `calc(${right} - ${left})`, height: `calc(${bottom} - ${top})` });
    boxes.append(box);
    button.addEventListener("click", () => {
      for (const other of this.#list.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
      for (const other of boxes.children) other.classList.toggle("looked-at", other === box);
      paint(heat, region.heat ?? [], colour);
    });
    return element("li", {}, button);
  }

  #hide() {
    this.#waiting.abort();
    this.#button.setAttribute("aria-pressed", "false");
    this.#panel.hidden = this.#layer.hidden = this.#busy.hidden = true;
    this.#list.replaceChildren();
    this.#layer.replaceChildren();
  }

  /** @param {string} words */
  #say(words) {
    say(this.#words, words);
  }

  /** Lays the boxes over the picture, wherever that is. */
  #align() {
    if (this.#layer.hidden) return;
    const { offsetLeft, offsetTop, offsetWidth, offsetHeight } = this.#picture;
    this.#layer.style.translate = `${offsetLeft}px ${offsetTop}px`;
    this.#layer.style.width = `${offsetWidth}px`;
    this.#layer.style.height = `${offsetHeight}px`;
  }
}

/** @param {number} value */
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;

/**
 * Draws heat in a colour: where there is most of it, it hides most.
 * @param {HTMLCanvasElement} canvas @param {number[][]} heat by rows @param {string} colour as #rrggbb
 */
function paint(canvas, heat, colour) {
  const most = Math.max(...heat.flat(), 1e-6);
  canvas.height = heat.length;
  canvas.width = heat[0]?.length ?? 0;
  const context = canvas.getContext("2d");
  if (!context || !canvas.width) return;
  const image = context.createImageData(canvas.width, canvas.height);
  const [red, green, blue] = [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
  heat.flat().forEach((value, place) => image.data.set([red ?? 0, green ?? 0, blue ?? 0, (MOST_OPAQUE * Math.max(0, value)) / most], 4 * place));
  context.putImageData(image, 0, 0);
}
