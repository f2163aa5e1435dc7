/**
 * The pictures of a list one after the other over the whole screen, at a pace that can be changed and stopped.
 *
 * @typedef {import("./viewer-history.js").PictureList} PictureList
 */
import * as api from "./api.js";
import { byId } from "./elements.js";
import { announce, toast } from "./notices.js";
import { count, day } from "./text.js";
import { nameOf, pictureOf } from "./tile.js";

const PACES = [2, 3, 5, 8, 12, 20, 40]; // seconds a picture
const HIDDEN_AFTER = 2500; // milliseconds without the pointer moving until the buttons go
const COMES_WITHIN = 8000; // milliseconds that a picture of the timeline may take until it is known

export class SlideShow {
  #dialog = byId("slides", HTMLDialogElement);
  #images = [byId("slide-a", HTMLImageElement), byId("slide-b", HTMLImageElement)];
  #words = byId("slide-words", HTMLElement);
  #play = byId("slides-play", HTMLButtonElement);
  #pace = 2;
  #place = 0;
  /** Where it is going, while that picture is on its way. */
  #going = 0;
  /** Whether it goes there by itself, which a pause ends. */
  #goesByItself = false;
  #playing = true;
  #timer = 0;
  #hiding = 0;
  /** Counts the pictures that were gone to: one that comes late is not shown. */
  #turn = 0;

  /** @param {{list: () => PictureList, help: () => void, closed: (place: number) => void}} on */
  constructor(on) {
    this.on = on;
    const buttons = /** @type {[string, () => void][]} */ ([
      ["slides-previous", () => this.step(-1)],
      ["slides-next", () => this.step(1)],
      ["slides-play", () => this.#pause()],
      ["slides-close", () => this.close()],
    ]);
    for (const [id, act] of buttons) byId(id, HTMLButtonElement).addEventListener("click", act);
    this.#dialog.addEventListener("keydown", (event) => this.#key(event));
    this.#dialog.addEventListener("pointermove", () => this.#showButtons());
    this.#dialog.addEventListener("close", () => this.#ended());
    document.addEventListener("fullscreenchange", () => {
      if (!document.fullscreenElement && this.#dialog.open) this.close(); // Esc leaves both
    });
    document.addEventListener("visibilitychange", () => this.#wait());
  }

  get isOpen() {
    return this.#dialog.open;
  }

  /** @param {number} place of the first picture */
  start(place) {
    if (!this.on.list().length) return;
    this.#place = place;
    this.#playing = true;
    this.#dialog.showModal();
    this.#play.focus();
    this.#dialog.requestFullscreen?.()
      .then(() => (this.isOpen ? undefined : document.exitFullscreen())) // it may be closed before the screen is given
      .catch(() => {}); // not everywhere allowed: then it fills the window
    this.#showButtons();
    this.#describe();
    void this.#show(place, 1);
  }

  close() {
    this.#dialog.close();
  }

  /** @param {1 | -1} by */
  step(by) {
    void this.#show(this.#going + by, by);
  }

  /**
   * Shows a picture, or the next one that there is.
   * @param {number} place @param {1 | -1} by which way to go on
   */
  async #show(place, by) {
    const turn = (this.#turn += 1);
    this.#going = place;
    this.#goesByItself = false;
    clearTimeout(this.#timer);
    const list = this.on.list();
    for (let tries = 0; tries < list.length; tries += 1) {
      const at = (((place + by * tries) % list.length) + list.length) % list.length; // after the last comes the first
      const hit = await this.#known(at);
      const row = hit && !hit.gone ? pictureOf(hit) : null;
      if (turn !== this.#turn || !this.isOpen) return;
      if (!hit || row === null) continue;
      const [shown, next] = /** @type {[HTMLImageElement, HTMLImageElement]} */ (this.#images);
      next.src = api.thumbnail(row, Math.max(innerWidth, innerHeight) * (window.devicePixelRatio || 1));
      const came = await next.decode().then(() => true, () => false);
      if (turn !== this.#turn || !this.isOpen) return;
      if (!came) continue;
      this.#place = this.#going = at;
      this.#goesByItself = false;
      next.alt = nameOf(hit);
      next.classList.add("there");
      shown.classList.remove("there");
      shown.alt = "";
      this.#images.reverse();
      this.#words.textContent = [hit.taken_at ? day(hit.taken_at) : "", `${count(at + 1)} of ${count(list.length)}`].filter(Boolean).join(" · ");
      if (!this.#playing) announce(next.alt);
      this.#wait();
      return;
    }
  }

  /**
   * A hit, once it is known: those of the timeline come when they are wanted.
   * @param {number} place
   */
  async #known(place) {
    const list = this.on.list();
    const until = performance.now() + COMES_WITHIN;
    list.approach(place);
    while (!list.hitAt(place) && performance.now() < until) await new Promise((done) => setTimeout(done, 100));
    return list.hitAt(place);
  }

  /** The next one comes after a while. */
  #wait() {
    clearTimeout(this.#timer);
    if (!this.isOpen || !this.#playing || document.hidden) return;
    this.#timer = window.setTimeout(() => {
      this.step(1);
      this.#goesByItself = true;
    }, 1000 * (PACES[this.#pace] ?? 5));
  }

  #pause() {
    this.#playing = !this.#playing;
    if (this.#goesByItself) {
      this.#turn += 1; // what is on its way is not shown: who stops wants to look at this one
      this.#going = this.#place;
      this.#goesByItself = false;
    }
    this.#describe();
    announce(this.#playing ? "Playing" : "Paused");
    this.#wait();
  }

  /** @param {1 | -1} by */
  #changePace(by) {
    this.#pace = Math.min(PACES.length - 1, Math.max(0, this.#pace + by));
    toast(`${PACES[this.#pace]} seconds a picture`);
    this.#wait();
  }

  #describe() {
    this.#play.setAttribute("aria-label", this.#playing ? "Pause" : "Play");
    byId("slides-play-icon", SVGUseElement).setAttribute("href", this.#playing ? "#i-pause" : "#i-play");
  }

  #showButtons() {
    this.#dialog.classList.remove("still");
    clearTimeout(this.#hiding);
    this.#hiding = window.setTimeout(() => this.#dialog.classList.add("still"), HIDDEN_AFTER);
  }

  #ended() {
    this.#turn += 1;
    clearTimeout(this.#timer);
    clearTimeout(this.#hiding);
    if (document.fullscreenElement) void document.exitFullscreen();
    for (const image of this.#images) {
      image.removeAttribute("src");
      image.classList.remove("there");
    }
    this.on.closed(this.#place);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const does = /** @type {Record<string, () => void>} */ ({
      " ": () => this.#pause(),
      ArrowRight: () => this.step(1),
      ArrowLeft: () => this.step(-1),
      "+": () => this.#changePace(-1),
      "-": () => this.#changePace(1),
      "?": () => this.on.help(),
      Escape: () => this.close(),
    })[event.key];
    if (!does || (event.key === " " && event.target instanceof HTMLButtonElement && event.target !== this.#play)) return;
    event.preventDefault();
    event.stopPropagation();
    does();
  }
}
