/**
 * A picture at its own pixels, of a format that the browser does not show: the server draws the parts that are seen, which
 * lie over the picture as it was.
 */
import * as api from "./api.js";
import { byId, element } from "./elements.js";

const SIDE = 512; // pixels of a part
const AROUND = 256; // pixels beside the stage whose parts are drawn too

export class CloseLook {
  #stage = byId("stage", HTMLElement);
  #layer = byId("viewer-parts", HTMLElement);
  /** @type {Map<string, HTMLImageElement>} */
  #parts = new Map();
  #waiting = false;

  /** @param {HTMLImageElement} picture over which the parts lie */
  constructor(picture) {
    this.picture = picture;
    this.row = -1;
    this.width = this.height = 0;
    this.#stage.addEventListener("scroll", () => this.#drawSoon(), { passive: true });
    new ResizeObserver(() => this.#drawSoon()).observe(picture);
  }

  get isOn() {
    return !this.#layer.hidden;
  }

  /**
   * Looks closely at a picture.
   * @param {number} row @param {number} width of it, in its own pixels @param {number} height
   */
  begin(row, width, height) {
    this.end();
    [this.row, this.width, this.height] = [row, width, height];
    this.#layer.hidden = false;
    this.#draw();
  }

  end() {
    this.#layer.hidden = true;
    this.#layer.replaceChildren();
    this.#parts.clear();
  }

  #drawSoon() {
    if (this.#waiting || !this.isOn) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      if (this.isOn) this.#draw();
    });
  }

  /** Has the parts on the stage drawn, and lets the others go. */
  #draw() {
    const { offsetLeft, offsetTop, offsetWidth, offsetHeight } = this.picture;
    const scale = offsetWidth / this.width; // pixels of the page a pixel of the picture
    this.#layer.style.translate = `${offsetLeft}px ${offsetTop}px`;
    this.#layer.style.width = `${offsetWidth}px`;
    this.#layer.style.height = `${offsetHeight}px`;
    const { scrollLeft, scrollTop, clientWidth, clientHeight } = this.#stage;
    const first = (/** @type {number} */ from, /** @type {number} */ at) => Math.max(0, Math.floor((at - from - AROUND) / scale / SIDE));
    const last = (/** @type {number} */ from, /** @type {number} */ at, /** @type {number} */ size) => Math.min(Math.ceil(size / SIDE), Math.ceil((at - from + AROUND) / scale / SIDE));
    const wanted = new Set();
    for (let y = first(offsetTop, scrollTop); y < last(offsetTop, scrollTop + clientHeight, this.height); y += 1) {
      for (let x = first(offsetLeft, scrollLeft); x < last(offsetLeft, scrollLeft + clientWidth, this.width); x += 1) {
        const key = `${x},${y}`;
        wanted.add(key);
        const part = this.#parts.get(key) ?? this.#part(x, y, key);
        part.style.left = `${x * SIDE * scale}px`;
        part.style.top = `${y * SIDE * scale}px`;
        part.style.width = `${Math.min(SIDE, this.width - x * SIDE) * scale}px`;
        part.style.height = `${Math.min(SIDE, this.height - y * SIDE) * scale}px`;
      }
    }
    for (const [key, part] of this.#parts) {
      if (wanted.has(key)) continue;
      part.removeAttribute("src");
      part.remove();
      this.#parts.delete(key);
    }
  }

  /** @param {number} x @param {number} y @param {string} key */
  #part(x, y, key) {
    const part = element("img", { alt: "", draggable: "false" });
    part.addEventListener("load", () => part.classList.add("there"));
    part.src = api.crop(this.row, { left: x * SIDE, top: y * SIDE, width: SIDE, height: SIDE });
    this.#parts.set(key, part);
    this.#layer.append(part);
    return part;
  }
}
