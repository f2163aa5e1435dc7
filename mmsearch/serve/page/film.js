/**
 * Films in the large view: the film itself plays from the moment that was found, muted, and a strip shows all of its
 * moments that answer. Where the browser cannot play it, the still stays.
 *
 * @typedef {import("./api.js").Hit} Hit
 * @typedef {import("./query.js").Query} Query
 */
import * as api from "./api.js";
import { byId, element, say } from "./elements.js";
import { isAsked } from "./query.js";
import { isFrame, whereInFile, wholePath } from "./spans.js";
import { score } from "./text.js";

const MOST_MOMENTS = 24;

export class Film {
  #stage = byId("stage", HTMLElement);
  #video = byId("viewer-film", HTMLVideoElement);
  #panel = byId("film-panel", HTMLElement);
  #words = byId("film-words", HTMLElement);
  #strip = byId("film-moments", HTMLElement);
  #waiting = new AbortController();
  /** @type {Hit | null} */
  #hit = null;
  /** Where it begins to play. */
  #from = 0;

  /** @param {() => Query} query @param {(error: unknown) => void} failed */
  constructor(query, failed) {
    this.query = query;
    this.failed = failed;
    this.#video.addEventListener("loadedmetadata", () => this.#begin());
    this.#video.addEventListener("seeked", () => this.#stage.classList.toggle("plays", this.#hit !== null));
    this.#video.addEventListener("error", () => this.#refused());
  }

  /**
   * Another picture is in the large view, or the same one again.
   * @param {Hit | null} hit null: none is open
   */
  shown(hit) {
    if (hit !== null && hit === this.#hit) return;
    this.#end();
    if (hit === null || hit.gone || hit.caption || !isFrame(hit)) return;
    this.#hit = hit;
    this.#from = hit.from_s ?? hit.start_s ?? 0;
    this.#panel.hidden = this.#video.hidden = false;
    say(this.#words, "");
    this.#video.src = api.film(hit.row_id);
    if (isAsked(this.query())) void this.#find(hit);
  }

  #begin() {
    this.#video.muted = true;
    this.#video.currentTime = this.#from;
    this.#video.play().catch(() => {}); // a browser that is set not to play by itself: its own button does
  }

  #end() {
    this.#waiting.abort();
    this.#hit = null;
    this.#stage.classList.remove("plays");
    this.#panel.hidden = this.#video.hidden = true;
    this.#strip.replaceChildren();
    if (!this.#video.hasAttribute("src")) return;
    this.#video.pause();
    this.#video.removeAttribute("src");
    this.#video.load(); // lets go of the connection
  }

  async #refused() {
    const hit = this.#hit;
    if (!hit || !this.#video.hasAttribute("src")) return;
    this.#stage.classList.remove("plays");
    this.#video.hidden = true;
    const why = await api.whyNot(api.film(hit.row_id));
    if (hit === this.#hit) say(this.#words, why === null ? "This browser cannot play the film." : `The film is not played: ${why.message}`);
  }

  /** @param {Hit} hit */
  async #find(hit) {
    const waiting = (this.#waiting = new AbortController());
    try {
      const answer = await api.moments(this.query(), `${wholePath(hit)}!/`, MOST_MOMENTS, waiting.signal);
      if (waiting.signal.aborted) return;
      const inTime = [...answer.hits].sort((one, other) => (one.from_s ?? 0) - (other.from_s ?? 0));
      this.#strip.replaceChildren(...inTime.map((moment) => this.#moment(moment, hit)));
    } catch (error) {
      if (!api.isAbort(error) && !waiting.signal.aborted) this.failed(error);
    }
  }

  /** @param {Hit} moment @param {Hit} hit */
  #moment(moment, hit) {
    const when = whereInFile(moment);
    const still = element("img", { alt: "", src: api.thumbnail(moment.row_id, 320), loading: "lazy" });
    const title = moment.score === null ? when : `${when}, score ${score(moment.score)}`;
    const button = element("button", { type: "button", title }, still, element("span", {}, when));
    button.setAttribute("aria-label", `Play from ${when}`);
    if (moment.from_s === hit.from_s) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => {
      for (const other of this.#strip.querySelectorAll("[aria-current]")) other.removeAttribute("aria-current");
      button.setAttribute("aria-current", "true");
      this.#from = moment.from_s ?? 0;
      this.#begin();
    });
    return element("li", {}, button);
  }
}
