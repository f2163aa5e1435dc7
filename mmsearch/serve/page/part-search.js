/**
 * Searching with a part of the picture in the large view: a box is drawn on it with the mouse or a finger.
 *
 * @typedef {import("./api.js").Hit} Hit
 */
import { byId, element } from "./elements.js";
import { announce } from "./notices.js";
import { pictureOf } from "./tile.js";

const LEAST = 8; // pixels of the screen, a side; what is smaller is a slip of the hand

/** @param {number} value @param {number} most */
const within = (value, most) => Math.min(Math.max(value, 0), most);

export class PartSearch {
  #button = byId("viewer-part", HTMLButtonElement);
  #stage = byId("stage", HTMLElement);
  #picture = byId("viewer-picture", HTMLImageElement);
  #shape = element("div", { class: "part-box", hidden: true, "aria-hidden": "true" });
  /** @type {number | null} the picture that is shown */
  #row = null;
  /** @type {{x: number, y: number} | null} where the box begins, in shares of the picture */
  #from = null;

  /** @param {(row: number, box: string) => void} ask with the part of a picture: left, top, right, bottom in shares */
  constructor(ask) {
    this.ask = ask;
    this.#stage.append(this.#shape);
    this.#button.addEventListener("click", () => this.toggle());
    this.#stage.addEventListener("pointerdown", (event) => this.#begin(event));
    this.#stage.addEventListener("pointermove", (event) => this.#draw(event));
    this.#stage.addEventListener("pointerup", (event) => this.#end(event));
    this.#stage.addEventListener("pointercancel", () => this.#forget());
    this.#stage.addEventListener("click", (event) => this.isOn && event.stopPropagation(), true);
    addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.isOn) return;
      event.preventDefault();
      event.stopPropagation();
      this.toggle();
    }, true);
  }

  get isOn() {
    return this.#stage.classList.contains("drawing");
  }

  /**
   * Another picture is in the large view.
   * @param {Hit | null} hit null: none is open
   */
  shown(hit) {
    if (this.isOn) this.toggle();
    this.#row = hit === null || hit.gone ? null : pictureOf(hit);
    this.#button.hidden = this.#row === null;
  }

  /**
   * The picture that a tile is of is shown in its place.
   * @param {number} row
   */
  shownWhole(row) {
    this.#row = row;
  }

  toggle() {
    if (this.#button.hidden && !this.isOn) return;
    this.#forget();
    const on = this.#stage.classList.toggle("drawing");
    this.#button.setAttribute("aria-pressed", String(on));
    if (on) announce("Draw a box around what to look for");
  }

  /** @param {PointerEvent} event */
  #at({ clientX, clientY }) {
    const { left, top, width, height } = this.#picture.getBoundingClientRect();
    return { x: within((clientX - left) / width, 1), y: within((clientY - top) / height, 1) };
  }

  /** @param {PointerEvent} event */
  #begin(event) {
    if (!this.isOn || event.button !== 0) return;
    event.preventDefault();
    this.#from = this.#at(event);
    this.#stage.setPointerCapture(event.pointerId);
  }

  /** @param {PointerEvent} event */
  #box(event) {
    const to = this.#at(event);
    const from = this.#from ?? to;
    return { left: Math.min(from.x, to.x), top: Math.min(from.y, to.y), right: Math.max(from.x, to.x), bottom: Math.max(from.y, to.y) };
  }

  /** @param {PointerEvent} event */
  #draw(event) {
    if (!this.#from) return;
    const { left, top, right, bottom } = this.#box(event);
    const { offsetLeft, offsetTop, offsetWidth, offsetHeight } = this.#picture;
    this.#shape.hidden = false;
    this.#shape.style.translate = `${offsetLeft + left * offsetWidth}px ${offsetTop + top * offsetHeight}px`;
    this.#shape.style.width = `${(right - left) * offsetWidth}px`;
    this.#shape.style.height = `${(bottom - top) * offsetHeight}px`;
  }

  /** @param {PointerEvent} event */
  #end(event) {
    if (!this.#from) return;
    const { left, top, right, bottom } = this.#box(event);
    const { width, height } = this.#picture.getBoundingClientRect();
    const row = this.#row;
    this.#forget();
    if (row === null || (right - left) * width < LEAST || (bottom - top) * height < LEAST) return;
    this.toggle();
    this.ask(row, [left, top, right, bottom].map((side) => String(Number(side.toFixed(4)))).join(","));
  }

  #forget() {
    this.#from = null;
    this.#shape.hidden = true;
  }
}
