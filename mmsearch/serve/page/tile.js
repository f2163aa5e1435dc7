/**
 * A picture (or caption) among others: it opens, it leads to others like it, and it holds its image only where it is
 * told to, so that memory stays bounded however many there are.
 *
 * @typedef {import("./api.js").Hit} Hit
 * @typedef {import("./tile-marks.js").MarkEvents & {open: (place: number) => void, like: (hit: Hit) => void, failed: (error: api.ApiError) => void,
 *   isChosen: (row: number | null) => boolean, choose: (tile: Tile, through: boolean) => void, choosing: () => boolean,
 *   isReranked: () => boolean}} TileEvents
 *   failed: the server did not answer for an image. choose: this one, or with all up to it; choosing: whether a press does so. isReranked: whether the
 *   answer is, as far as there was time.
 */
import * as api from "./api.js";
import { element, icon } from "./elements.js";
import { whereInFile, wholePath } from "./spans.js";
import { TileMarks } from "./tile-marks.js";
import { absence, day, guessed, sentence, shown, split, standing } from "./text.js";

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
  const name = split(wholePath(hit))[0] || `picture ${hit.row_id}`;
  return captionOf(hit) || [name, whereInFile(hit)].filter(Boolean).join(" ");
}

/**
 * The caption that a hit is; empty for a picture.
 * @param {Hit} hit
 */
export function captionOf(hit) {
  if (!hit.caption) return "";
  return hit.guessed_by ? guessed(hit.caption) : sentence(hit.caption);
}

export class Tile {
  /** Pixels of its longer side on the screen. */
  edge = 320;
  /** Whether it is near to the screen, and so holds its image. */
  #near = false;
  /** Whether its image did not come because the server was gone. */
  #stuck = false;
  #button = element("button", { type: "button", class: "tile-open", tabindex: -1 });
  #like = element("button", { type: "button", class: "tile-like", tabindex: -1, title: "More like this (m)" });
  #box = element("button", { type: "button", class: "tile-choose", role: "checkbox", tabindex: -1, title: "Choose (x)" }, icon("check"));
  /** @type {HTMLImageElement | null} */
  #image = null;
  #marks;

  /** @param {Hit} hit @param {number} place among the others @param {TileEvents} on */
  constructor(hit, place, on) {
    this.hit = hit;
    this.place = place;
    this.on = on;
    const name = nameOf(hit);
    if (pictureOf(hit) !== null) this.#image = element("img", { alt: hit.caption ? "" : name, draggable: "false" });
    if (this.#image) this.#button.append(element("span", { class: "well" }, this.#image));
    this.#button.append(facts(hit, name, on.isReranked()));
    this.#like.append(icon("like"), element("span", { class: "unseen" }, `More like ${name}`));
    this.item = element("li", { class: "tile", title: shown(hit.path ?? "") }, this.#button, this.#like);
    if (pictureOf(hit) !== null) this.item.append(this.#box);
    this.#box.setAttribute("aria-label", `Choose ${name}`);
    this.chosen = on.isChosen(pictureOf(hit));
    this.#marks = new TileMarks(hit, name, this.item, on);
    this.#box.addEventListener("click", (event) => on.choose(this, event.shiftKey));
    this.#button.addEventListener("click", (event) => {
      const choosing = event.ctrlKey || event.metaKey || event.shiftKey || on.choosing();
      if (choosing && pictureOf(hit) !== null) on.choose(this, event.shiftKey);
      else on.open(place);
    });
    this.#like.addEventListener("click", () => on.like(hit));
    this.#image?.addEventListener("load", () => this.item.classList.add("loaded"));
    this.#image?.addEventListener("error", () => this.#failed());
  }

  /**
   * Whether the keys that go through the page stop at it.
   * @param {boolean} reached
   */
  set reachable(reached) {
    this.#button.tabIndex = this.#like.tabIndex = this.#box.tabIndex = reached ? 0 : -1;
    this.#marks.reachable = reached;
  }

  /**
   * Whether it is one of several that were chosen.
   * @param {boolean} chosen
   */
  set chosen(chosen) {
    this.item.classList.toggle("chosen", chosen);
    this.#box.setAttribute("aria-checked", String(chosen));
  }

  focus() {
    this.#button.focus({ preventScroll: true });
  }

  /** It is near to the screen: shows its image. */
  load() {
    this.#near = true;
    this.#marks.show();
    const row = pictureOf(this.hit);
    if (row === null || !this.#image || this.item.classList.contains("absent")) return;
    if (this.hit.gone) this.#absent("The file is gone");
    else this.#image.src = api.thumbnail(row, this.edge);
  }

  /** It is far from the screen: lets its image go. */
  unload() {
    this.#near = false;
    this.#marks.hide();
    if (!this.#image?.hasAttribute("src")) return;
    this.#image.removeAttribute("src");
    this.item.classList.remove("loaded");
  }

  /** Asks again for an image that did not come while the server was gone. */
  retry() {
    if (!this.#stuck) return;
    this.#stuck = false;
    if (this.#near) this.load();
  }

  async #failed() {
    const source = this.#image?.getAttribute("src");
    if (!source) return;
    const why = await api.whyNot(source);
    if (why === null) return this.#absent("It cannot be shown");
    if (why.passes || why.status === 401) {
      this.#stuck = true;
      return this.on.failed(why);
    }
    this.#absent(absence(why));
  }

  /** @param {string} words */
  #absent(words) {
    this.item.classList.add("absent");
    this.#image?.replaceWith(element("span", { class: "absent-words" }, icon("gone"), element("span", {}, words)));
    this.#image = null;
    const name = this.item.querySelector(".tile-name");
    name?.removeAttribute("aria-hidden"); // the image spoke it
  }
}

/** @param {Hit} hit @param {string} name @param {boolean} reranked whether the answer is */
function facts(hit, name, reranked) {
  const words = element("span", { class: "tile-facts" });
  if (hit.caption) words.append(element("span", { class: "tile-words", dir: "auto" }, name));
  else words.append(element("span", { class: "tile-name", dir: "auto", "aria-hidden": "true" }, name));
  if (hit.caption && hit.path) words.append(element("span", { class: "tile-path", dir: "auto" }, split(hit.path)[0]));
  const where = hit.caption ? "" : whereInFile(hit);
  if (where) words.append(element("span", { class: "tile-where", "aria-hidden": "true" }, where)); // its name says it
  if (!hit.caption && hit.taken_at) words.append(element("span", { class: "tile-date" }, day(hit.taken_at)));
  if (reranked) words.append(secondLook(hit));
  if (hit.score !== null) words.append(element("span", { class: "tile-score" }, standing(hit)));
  return words;
}

/**
 * Whether a re-ranker has looked at a hit.
 * @param {Hit} hit
 */
function secondLook(hit) {
  if (typeof hit.rerank !== "number") return element("span", { class: "tile-second" }, "not re-ranked");
  return element("span", { class: "tile-second", title: "Re-ranked" }, icon("second"), element("span", { class: "unseen" }, "re-ranked"));
}
