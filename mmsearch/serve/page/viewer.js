/**
 * The large view: one picture, what is known of it, and the way to the ones beside it.
 *
 * @typedef {import("./api.js").Hit} Hit
 * @typedef {import("./api.js").Item} Item
 */
import * as api from "./api.js";
import { copyText } from "./clipboard.js";
import { CloseLook } from "./close-look.js";
import { byId, element, say } from "./elements.js";
import { isFrame, whereInFile, wholePath } from "./spans.js";
import { captionOf, nameOf, pictureOf } from "./tile.js";
import { toast } from "./notices.js";
import { absence, count, guessed, score, sentence, shown, size, split, when, worth } from "./text.js";

const ENLARGED = 640; // pixels to which a small picture is enlarged, at most threefold
const SWIPE = 48; // pixels that a finger moves aside

export class Viewer {
  #dialog = byId("viewer", HTMLDialogElement);
  #stage = byId("stage", HTMLElement);
  #picture = byId("viewer-picture", HTMLImageElement);
  #absent = byId("viewer-absent", HTMLElement);
  #name = byId("viewer-name", HTMLElement);
  #caption = byId("viewer-caption", HTMLElement);
  #facts = byId("viewer-facts", HTMLElement);
  #captions = byId("viewer-captions", HTMLElement);
  #original = byId("viewer-original", HTMLAnchorElement);
  #previous = byId("previous", HTMLButtonElement);
  #next = byId("next", HTMLButtonElement);
  #closeLook = new CloseLook(this.#picture);
  #tile = byId("viewer-tile", HTMLElement);
  /** @type {{row: number, width: number | null, height: number | null, box: number[]} | null} the picture that a tile is of, where that is shown */
  #whole = null;
  #waiting = new AbortController();
  /** Counts the sources that the picture was to have: one that comes late does not take the place of a later one. */
  #drawn = 0;
  /** @type {Hit | null} */
  hit = null;
  /** In the list; -1 where it is not there. */
  place = -1;
  #path = "";

  /**
   * @param {{at: (place: number) => Hit | null, moved: (hit: Hit, place: number) => void, closed: () => void,
   *   like: (hit: Hit) => void, slides: () => void, help: () => void, failed: (error: api.ApiError) => void,
   *   shown: (hit: Hit | null) => void, whole: (row: number) => void, keys: Readonly<Record<string, (hit: Hit) => void>>}} on
   *   at: a hit of the list. moved: to another one. closed: by the person, who sees nothing happen until `hide`. slides: begin a slide show here. help: show
   *   the keys. shown: another hit, or none any more. whole: the picture that a tile is of, in its place. keys: what further keys do with what is shown.
   */
  constructor(on) {
    this.on = on;
    byId("viewer-close", HTMLButtonElement).addEventListener("click", () => on.closed());
    byId("viewer-like", HTMLButtonElement).addEventListener("click", () => this.like());
    byId("viewer-copy", HTMLButtonElement).addEventListener("click", () => this.copy());
    this.#previous.addEventListener("click", () => this.step(-1));
    this.#next.addEventListener("click", () => this.step(1));
    this.#dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      on.closed();
    });
    addEventListener("keydown", (event) => this.isOpen && this.#key(event)); // the focus may be in the browser's own bar
    this.#stage.addEventListener("click", (event) => {
      if (event.target === this.#picture) this.zoom();
      else if (event.target === this.#stage) on.closed();
    });
    this.#swipes();
    new ResizeObserver(() => this.#alignTile()).observe(this.#picture);
    this.#stage.addEventListener("scroll", () => this.#alignTile(), { passive: true });
  }

  get isOpen() {
    return this.#dialog.open;
  }

  /**
   * Shows a hit.
   * @param {Hit} hit
   * @param {number} place in the list, or -1
   */
  show(hit, place) {
    this.hit = hit;
    this.place = place;
    if (!this.#dialog.open) {
      this.#dialog.showModal();
      this.#name.focus();
    }
    this.#waiting.abort();
    this.#waiting = new AbortController();
    this.#describe(hit, null);
    this.#draw(hit, pictureOf(hit));
    this.#reach();
    this.on.shown(hit);
    void this.#complete(hit, this.#waiting.signal);
    for (const near of [1, -1]) {
      const beside = place < 0 ? null : this.on.at(place + near);
      const row = beside && !beside.gone ? pictureOf(beside) : null;
      if (row !== null) new Image().src = api.thumbnail(row, this.#edge());
    }
  }

  /**
   * Shows a picture of the gallery by its row.
   * @param {number} row
   */
  async showRow(row) {
    try {
      const item = await api.item(row);
      this.show({ ...item, rank: 0, caption: null, score: null }, -1);
    } catch (error) {
      if (error instanceof api.ApiError) this.on.failed(error);
      else throw error;
    }
  }

  hide() {
    this.#waiting.abort();
    this.#dialog.close();
    this.#closeLook.end();
    this.#tile.hidden = true;
    this.#picture.removeAttribute("src");
    this.hit = null;
    this.on.shown(null);
  }

  /**
   * Goes to the one before or after.
   * @param {1 | -1} by
   */
  step(by) {
    const place = this.place + by;
    const hit = this.place < 0 ? null : this.on.at(place);
    if (!hit) return;
    this.show(hit, place);
    this.on.moved(hit, place);
  }

  /** The list has further hits, or others. */
  refresh() {
    if (!this.isOpen || this.place < 0) return;
    if (this.on.at(this.place)?.row_id !== this.hit?.row_id) this.place = -1;
    this.#reach();
  }

  /**
   * What is shown stands elsewhere in the list.
   * @param {Hit} hit the same picture, as the list has it now @param {number} place
   */
  moveTo(hit, place) {
    this.hit = hit;
    this.place = place;
    this.#reach();
    void this.#complete(hit, this.#waiting.signal);
  }

  /** Which ways lead on. */
  #reach() {
    this.#previous.disabled = this.place < 0 || !this.on.at(this.place - 1);
    this.#next.disabled = this.place < 0 || !this.on.at(this.place + 1);
  }

  /** Asks again for what did not come. */
  again() {
    if (this.hit && this.isOpen) this.show(this.hit, this.place);
  }

  like() {
    if (this.hit) this.on.like(this.hit);
  }

  async copy() {
    const copied = await copyText(this.#path, this.#dialog);
    toast(copied ? "Path copied" : "The browser does not let the path be copied; mark it below");
  }

  /** Between the whole picture and its own pixels. */
  zoom() {
    if (!this.hit || this.#picture.hidden) return;
    const zoomed = this.#stage.classList.toggle("zoomed");
    const row = this.#whole?.row ?? pictureOf(this.hit);
    this.#closeLook.end();
    if (!zoomed || row === null) return;
    const { offsetLeft, offsetTop, offsetWidth, offsetHeight } = this.#picture;
    const [left = 0, top = 0, right = 1, bottom = 1] = this.#whole?.box ?? [];
    const middle = { x: offsetLeft + (offsetWidth * (left + right)) / 2, y: offsetTop + (offsetHeight * (top + bottom)) / 2 };
    this.#stage.scrollTo(middle.x - this.#stage.clientWidth / 2, middle.y - this.#stage.clientHeight / 2);
    void this.#lookClosely(row, this.#whole ?? this.hit, this.#waiting.signal);
  }

  /**
   * Shows a picture's own pixels: of the file itself, or of the parts that the server draws of it.
   * @param {number} row @param {{width?: number | null, height?: number | null}} size of it @param {AbortSignal} signal
   */
  async #lookClosely(row, { width, height }, signal) {
    const shows = await loads(api.original(row));
    if (signal.aborted || !this.#stage.classList.contains("zoomed")) return;
    if (shows) {
      this.#drawn += 1;
      this.#picture.src = api.original(row);
    } else if (width && height) this.#closeLook.begin(row, width, height);
    else void this.#swap([api.converted(row), this.#picture.src], signal);
  }

  #edge() {
    return Math.max(this.#stage.clientWidth, this.#stage.clientHeight, 640) * (window.devicePixelRatio || 1);
  }

  /** @param {Hit} hit @param {number | null} row */
  #draw(hit, row) {
    this.#stage.classList.remove("zoomed");
    this.#closeLook.end();
    this.#whole = null;
    this.#tile.hidden = true;
    say(this.#absent, row === null ? "This caption has no picture in the gallery" : hit.gone ? "The file is gone" : "");
    this.#picture.hidden = row === null || hit.gone;
    if (row === null || hit.gone) return this.#picture.removeAttribute("src");
    this.#picture.alt = nameOf(hit);
    this.#measure(hit);
    this.#picture.src = api.thumbnail(row, 320); // it is there already, or soon
    void this.#swap([api.thumbnail(row, this.#edge())], this.#waiting.signal);
  }

  /** @param {{width?: number | null, height?: number | null}} size */
  #measure({ width, height }) {
    this.#picture.style.setProperty("--wide", width ? `${Math.max(width, Math.min(3 * width, ENLARGED))}px` : "100cqw");
    this.#picture.style.setProperty("--ratio", String(width && height ? width / height : 1.5));
  }

  /**
   * Shows the picture that a tile is of, and where in it the tile is.
   * @param {Item} tile @param {AbortSignal} signal
   */
  async #showWhole({ box, whole }, signal) {
    if (!box || whole === null || this.#stage.classList.contains("zoomed")) return;
    const { width, height, gone } = await api.item(whole, signal);
    if (signal.aborted || gone || this.#stage.classList.contains("zoomed")) return;
    this.#whole = { row: whole, width, height, box };
    this.#measure({ width, height });
    const [left, top, right, bottom] = box.map((share) => `${(100 * share).toFixed(3)}%`);
    Object.assign(/** @type {HTMLElement} */ (this.#tile.firstElementChild).style, { left, top, width: `calc(${right} - ${left})`, height: `calc(${bottom} - ${top})` });
    this.#tile.hidden = false;
    this.#alignTile();
    this.on.whole(whole);
    await this.#swap([api.thumbnail(whole, this.#edge())], signal);
  }

  /** Lays the box of a tile over the picture, wherever that is. */
  #alignTile() {
    if (this.#tile.hidden) return;
    const { offsetLeft, offsetTop, offsetWidth, offsetHeight } = this.#picture;
    this.#tile.style.translate = `${offsetLeft}px ${offsetTop}px`;
    this.#tile.style.width = `${offsetWidth}px`;
    this.#tile.style.height = `${offsetHeight}px`;
  }

  /**
   * Puts the first source that loads in the place of what is shown.
   * @param {string[]} sources
   * @param {AbortSignal} signal
   */
  async #swap(sources, signal) {
    const drawn = (this.#drawn += 1);
    for (const source of sources) {
      const came = await loads(source);
      if (signal.aborted || drawn !== this.#drawn) return;
      if (came) {
        this.#picture.src = source;
        return;
      }
    }
    const why = await api.whyNot(sources.at(-1) ?? "");
    if (signal.aborted || drawn !== this.#drawn) return;
    if (why?.passes) return this.on.failed(why);
    this.#picture.hidden = true;
    say(this.#absent, absence(why));
  }

  /** @param {Hit} hit @param {AbortSignal} signal */
  async #complete(hit, signal) {
    const row = pictureOf(hit);
    if (row === null) return;
    try {
      const item = await api.item(row, signal);
      this.#describe(hit, item);
      await this.#showWhole(item, signal);
    } catch (error) {
      if (error instanceof api.ApiError && error.passes) this.on.failed(error);
      else if (!(error instanceof api.ApiError) && !api.isAbort(error)) throw error;
    }
  }

  /** @param {Hit} hit @param {Item | null} item */
  #describe(hit, item) {
    const [name, folder] = split(wholePath(hit));
    const row = pictureOf(hit);
    this.#path = wholePath(hit, hit.file ?? hit.path);
    this.#name.textContent = name || (row === null ? "A caption" : `Picture ${row}`);
    say(this.#caption, captionOf(hit));
    const width = item?.width ?? hit.width;
    const height = item?.height ?? hit.height;
    const taken = item?.taken_at ?? hit.taken_at;
    const facts = /** @type {[string, string][]} */ ([
      ["Folder", folder],
      ["Where", whereInFile(hit)],
      ["Taken", taken ? `${when(taken)}${(item ?? hit).taken_from === "edited" ? " (when it was edited)" : ""}` : ""],
      ["Place", [item?.city ?? hit.city, item?.country ?? hit.country].filter(Boolean).join(", ")],
      ["Camera", [item?.camera ?? hit.camera, item?.lens ?? hit.lens].filter(Boolean).join(", ")],
      ["Title", item?.title ?? hit.title ?? ""],
      ["Dimensions", width && height ? `${count(width)} × ${count(height)} pixels` : ""],
      ["Size", item?.bytes ? size(item.bytes) : ""],
      ["Score", hit.score === null ? "" : `${score(hit.score)}, rank ${count(hit.rank)}`],
      ["Corrected", typeof hit.corrected === "number" ? score(hit.corrected) : ""],
      ["Standard score", typeof hit.z === "number" ? `${hit.z.toFixed(1)} σ above the others of its kind` : ""],
      ["Re-ranked", typeof hit.rerank === "number" ? score(hit.rerank) : ""],
      ["Relevant", worth(hit) ?? ""],
      ["Path", this.#path],
    ]).filter(([, value]) => value);
    this.#facts.replaceChildren(
      ...facts.map(([term, value]) => element("div", {}, element("dt", {}, term), element("dd", { dir: "auto" }, shown(value)))),
    );
    const captions = (item?.captions ?? []).filter((one) => one !== hit.caption);
    const guesses = (item?.guesses ?? []).filter((one) => one.guess !== hit.caption);
    this.#captions.hidden = !captions.length && !guesses.length;
    byId("viewer-captions-list", HTMLElement).replaceChildren(
      ...captions.map((one) => element("li", { dir: "auto" }, sentence(one))),
      ...guesses.map((one) => element("li", { dir: "auto", title: one.guessed_by }, guessed(one.guess))),
    );
    const openable = row !== null && !hit.gone && !item?.gone;
    this.#original.toggleAttribute("inert", !openable);
    if (openable) this.#original.href = isFrame(hit) ? api.film(row) : api.original(row);
    else this.#original.removeAttribute("href");
    byId("viewer-copy", HTMLButtonElement).disabled = !this.#path;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]:not(#viewer)")) return;
    const does = {
      ArrowLeft: () => this.step(-1),
      ArrowRight: () => this.step(1),
      m: () => this.like(),
      c: () => void this.copy(),
      z: () => this.zoom(),
      o: () => this.#original.click(),
      s: () => this.on.slides(),
      "?": () => this.on.help(),
    }[event.key] ?? this.#further(event.key);
    if (!does) return;
    event.preventDefault();
    event.stopPropagation();
    does();
  }

  /** @param {string} key */
  #further(key) {
    const [act, hit] = [this.on.keys[key], this.hit];
    return act && hit ? () => act(hit) : null;
  }

  #swipes() {
    /** @type {{x: number, y: number} | null} */
    let from = null;
    this.#stage.addEventListener("pointerdown", (event) => {
      const one = event.pointerType === "touch" && event.isPrimary && !this.#stage.classList.contains("zoomed");
      from = one ? { x: event.clientX, y: event.clientY } : null;
    });
    this.#stage.addEventListener("pointerup", (event) => {
      const across = from ? event.clientX - from.x : 0;
      const down = from ? Math.abs(event.clientY - from.y) : 0;
      from = null;
      if (Math.abs(across) > SWIPE && Math.abs(across) > 2 * down) this.step(across > 0 ? -1 : 1);
    });
  }
}

/**
 * Whether the browser shows an image.
 * @param {string} source
 */
function loads(source) {
  const image = new Image();
  image.src = source;
  return image.decode().then(() => true, () => false);
}
