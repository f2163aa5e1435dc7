/**
 * The panel of filters: what a person may want of pictures, without SQL and with it.
 *
 * @typedef {import("./query.js").Query} Query
 * @typedef {import("./api.js").Gallery} Gallery
 */
import { byId, element, say } from "./elements.js";
import { FacetPanel } from "./facet-panel.js";
import { NO_FILTER, filtersSet, tableNamed, toAddress } from "./query.js";
import { shown } from "./text.js";

const PAUSE = 450; // milliseconds after the last letter

export class Filters {
  #panel = byId("filters", HTMLElement);
  #form = byId("filters-form", HTMLFormElement);
  #button = byId("filters-button", HTMLButtonElement);
  #count = byId("filters-count", HTMLElement);
  #error = byId("where-error", HTMLElement);
  #where = byId("where", HTMLTextAreaElement);
  #columns = byId("columns", HTMLElement);
  #facets;
  #timer = 0;
  /** @type {Query | null} */
  #query = null;
  /** @type {Gallery | null} */
  #gallery = null;

  /** @param {{changed: (query: Query) => void, failed: (error: import("./api.js").ApiError) => void}} on */
  constructor(on) {
    this.on = on;
    this.#facets = new FacetPanel(on);
    this.#button.addEventListener("click", () => this.toggle());
    byId("filters-close", HTMLButtonElement).addEventListener("click", () => this.close());
    byId("filters-reset", HTMLButtonElement).addEventListener("click", () => this.#reset());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#read();
      if (matchMedia("(max-width: 900px)").matches) this.close();
    });
    this.#form.addEventListener("change", () => this.#read());
    this.#form.addEventListener("input", (event) => {
      const typed = event.target instanceof HTMLInputElement && /^(text|number)$/.test(event.target.type);
      clearTimeout(this.#timer);
      if (typed) this.#timer = window.setTimeout(() => this.#read(), PAUSE);
    });
    this.#where.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#read();
    });
    this.#panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
    });
  }

  get isOpen() {
    return !this.#panel.hidden;
  }

  toggle() {
    if (this.isOpen) this.close();
    else this.open();
  }

  open() {
    this.#panel.hidden = false;
    document.body.classList.add("filtering");
    this.#button.setAttribute("aria-expanded", "true");
    if (this.#query) void this.#facets.show(this.#query);
    const first = this.#form.querySelector("fieldset:not([hidden]):not([disabled]) input:checked");
    if (first instanceof HTMLElement) first.focus({ preventScroll: true });
  }

  close() {
    if (!this.isOpen) return;
    const inside = this.#panel.contains(document.activeElement);
    this.#panel.hidden = true;
    document.body.classList.remove("filtering");
    this.#button.setAttribute("aria-expanded", "false");
    if (inside) this.#button.focus();
  }

  /**
   * What the gallery can be filtered by.
   * @param {Gallery} gallery
   */
  describe(gallery) {
    this.#gallery = this.#facets.gallery = gallery;
    byId("table-field", HTMLElement).hidden = !gallery.captions;
    byId("rerank-field", HTMLElement).hidden = gallery.reranker === null;
    byId("rerank-name", HTMLElement).textContent = shown(gallery.reranker ?? "");
    if (this.#query) this.show(this.#query);
  }

  /** @param {Query} query */
  show(query) {
    const { filter, table } = query;
    this.#query = query;
    for (const [name, value] of Object.entries({ ...filter, table })) this.#set(name, value);
    for (const field of this.#form.querySelectorAll("[data-images]")) {
      field.toggleAttribute("inert", table !== "images");
    }
    if (filter.where) byId("sql", HTMLDetailsElement).open = true;
    if (this.isOpen) void this.#facets.show(query);
    const set = filtersSet(query);
    say(this.#count, set ? String(set) : "");
    this.#button.setAttribute("aria-label", set ? `Filters, ${set} set` : "Filters");
    this.#columns.replaceChildren(...(this.#gallery?.columns[table] ?? []).map((column) => this.#column(column)));
  }

  /**
   * What the server says of the SQL; "" where nothing is wrong.
   * @param {string} words
   */
  complain(words) {
    say(this.#error, shown(words));
    this.#where.setAttribute("aria-invalid", String(Boolean(words)));
    if (!words) return;
    byId("sql", HTMLDetailsElement).open = true;
    if (this.isOpen) this.#error.scrollIntoView({ block: "nearest" });
    else this.open();
  }

  /** @param {import("./api.js").Column} column */
  #column({ name, type }) {
    const button = element("button", { type: "button", class: "column", title: shown(type) }, shown(name));
    button.addEventListener("click", () => {
      this.#where.setRangeText(name, this.#where.selectionStart, this.#where.selectionEnd, "end");
      this.#where.focus();
    });
    return button;
  }

  /** @param {string} name @param {Query["filter"][keyof Query["filter"]]} value */
  #set(name, value) {
    for (const field of this.#form.querySelectorAll(`[name="${name}"]`)) {
      if (field instanceof HTMLSelectElement) choose(field, String(value));
      else if (field instanceof HTMLInputElement && field.type === "radio") field.checked = field.value === value;
      else if (field instanceof HTMLInputElement && field.type === "checkbox") field.checked = Boolean(value);
      else if (field instanceof HTMLInputElement || field instanceof HTMLTextAreaElement) {
        if (field !== document.activeElement) field.value = String(value);
      }
    }
  }

  #read() {
    clearTimeout(this.#timer);
    if (!this.#query) return;
    const data = new FormData(this.#form);
    const text = (/** @type {string} */ name) => String(data.get(name) ?? "");
    const filter = {
      ...this.#query.filter,
      shape: text("shape"),
      edge: text("edge"),
      from: text("from"),
      to: text("to"),
      path: text("path"),
      score: text("score"),
      distinct: data.has("distinct"),
      newest: data.has("newest"),
      rerank: text("rerank"),
      where: text("where"),
    };
    const table = tableNamed(text("table"));
    const query = /** @type {Query} */ ({ ...this.#query, table, filter });
    if (toAddress(query) !== toAddress(this.#query)) this.on.changed(query); // leaving a field tells of it again
  }

  #reset() {
    if (!this.#query) return;
    this.#form.reset();
    this.complain("");
    this.on.changed({ ...this.#query, table: "images", filter: NO_FILTER });
  }
}

/**
 * Chooses a value, which an address may name though it is not on offer.
 * @param {HTMLSelectElement} field
 * @param {string} value
 */
function choose(field, value) {
  field.querySelector("[data-other]")?.remove();
  field.value = value;
  if (field.value !== value) field.append(element("option", { value, selected: true, "data-other": "" }, `${value} pixels`));
}
