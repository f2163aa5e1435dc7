/**
 * The question that the page shows: written into the address, shown in the box, as chips and in the filters, and asked.
 *
 * @typedef {import("./question.js").Question} Question
 * @typedef {import("./chips.js").Chips} Chips
 * @typedef {import("./filters.js").Filters} Filters
 * @typedef {import("./search.js").Search} Search
 * @typedef {import("./search-box.js").SearchBox} SearchBox
 */
import { byId } from "./elements.js";
import { NOTHING, filtersSet, isAsked, titleOf, toAddress } from "./question.js";

export class CurrentQuestion {
  /** @type {Question} */
  #question = NOTHING;
  #galleryName = "mmsearch";

  /** @param {{box: SearchBox, chips: Chips, filters: Filters, search: Search}} parts of the page that show it, or its answer */
  constructor({ box, chips, filters, search }) {
    this.box = box;
    this.chips = chips;
    this.filters = filters;
    this.search = search;
  }

  get value() {
    return this.#question;
  }

  /**
   * Asks a question and writes it into the address.
   * @param {Question} asked
   * @param {"push" | "replace" | "stay"} [how] the address is written
   * @param {boolean} [remembered] an answer that was shown before will do
   */
  async ask(asked, how = "push", remembered = false) {
    this.box.stopTyping();
    const changed = toAddress(asked) !== toAddress(this.#question);
    if (how !== "stay") {
      const address = `${location.pathname}${toAddress(asked) ? `?${toAddress(asked)}` : ""}`;
      if (how === "push" && changed) history.pushState({}, "", address);
      else history.replaceState({}, "", address);
    }
    this.show(asked);
    await this.search.ask(asked, remembered);
  }

  /**
   * Shows a question and asks nothing.
   * @param {Question} asked
   */
  show(asked) {
    this.#question = asked;
    this.box.show(asked.words);
    this.chips.show(asked);
    this.filters.show(asked);
    byId("asked", HTMLElement).hidden = !isAsked(asked) && !filtersSet(asked);
    document.title = isAsked(asked) ? `${titleOf(asked)} · ${this.#galleryName}` : this.#galleryName;
  }

  /**
   * Names the gallery in the title, and shows the question anew.
   * @param {string} name
   */
  nameGallery(name) {
    this.#galleryName = name;
    this.show(this.#question);
  }

  /**
   * The address of the page with a picture in the large view.
   * @param {number | null} row of the picture; null without one
   */
  addressWith(row) {
    const address = new URLSearchParams(toAddress(this.#question));
    if (row !== null) address.set("view", String(row));
    const named = row !== null || isAsked(this.#question) || filtersSet(this.#question);
    return `${location.pathname}${named ? `?${address}` : ""}`;
  }
}
