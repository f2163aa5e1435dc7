/**
 * The query that the page shows: written into the address, shown in the box, as chips and in the filters, and asked.
 *
 * @typedef {import("./query.js").Query} Query
 * @typedef {import("./chips.js").Chips} Chips
 * @typedef {import("./filters.js").Filters} Filters
 * @typedef {import("./search.js").Search} Search
 * @typedef {import("./search-box.js").SearchBox} SearchBox
 */
import { byId } from "./elements.js";
import { NOTHING, filtersSet, isAsked, isTimeline, titleOf, toAddress, withoutIdleMarks } from "./query.js";

export class CurrentQuery {
  /** @type {Query} */
  #query = NOTHING;
  #galleryName = "mmsearch";

  /** @param {{box: SearchBox, chips: Chips, filters: Filters, search: Search}} parts of the page that show it, or its answer */
  constructor({ box, chips, filters, search }) {
    this.box = box;
    this.chips = chips;
    this.filters = filters;
    this.search = search;
  }

  get value() {
    return this.#query;
  }

  /**
   * Asks a query and writes it into the address.
   * @param {Query} asked
   * @param {"push" | "replace" | "stay"} [how] the address is written
   * @param {boolean} [remembered] an answer that was shown before will do
   */
  async ask(asked, how = "push", remembered = false) {
    asked = withoutIdleMarks(asked);
    this.box.stopTyping();
    const changed = toAddress(asked) !== toAddress(this.#query);
    if (how !== "stay") {
      const address = `${location.pathname}${toAddress(asked) ? `?${toAddress(asked)}` : ""}`;
      if (how === "push" && changed) history.pushState({}, "", address);
      else history.replaceState({}, "", address);
    }
    this.show(asked);
    await this.search.ask(asked, remembered);
  }

  /**
   * Shows a query and asks nothing.
   * @param {Query} asked
   */
  show(asked) {
    this.#query = asked;
    this.box.show(asked.words);
    this.chips.show(asked);
    this.filters.show(asked);
    byId("asked", HTMLElement).hidden = !isAsked(asked) && !filtersSet(asked);
    byId("timeline-button", HTMLElement).setAttribute("aria-pressed", String(isTimeline(asked)));
    this.#nameQuery();
  }

  /**
   * Names the gallery in the title. Nothing else is shown anew: somebody may be typing.
   * @param {string} name
   */
  nameGallery(name) {
    this.#galleryName = name;
    this.#nameQuery();
  }

  #nameQuery() {
    const query = this.#query;
    const name = isAsked(query) ? titleOf(query) : isTimeline(query) ? "Timeline" : "";
    document.title = name ? `${name} · ${this.#galleryName}` : this.#galleryName;
  }

  /**
   * The address of the page with a picture in the large view.
   * @param {number | null} row of the picture; null without one
   */
  addressWith(row) {
    const address = new URLSearchParams(toAddress(this.#query));
    if (row !== null) address.set("view", String(row));
    return `${location.pathname}${String(address) ? `?${address}` : ""}`;
  }
}
