/**
 * The folders and facets among the filters: what there is to choose from, with how many pictures each would leave. They
 * are counted while the filters are open.
 *
 * @typedef {import("./api.js").Folder} Folder
 * @typedef {import("./api.js").Gallery} Gallery
 * @typedef {import("./facets.js").Facet} Facet
 * @typedef {import("./query.js").Query} Query
 */
import * as api from "./api.js";
import { byId, element, icon } from "./elements.js";
import { FACETS, offered } from "./facets.js";
import { NOTHING, folderOf, whereOf } from "./query.js";
import { count, counted, shown } from "./text.js";
import { countPlaces } from "./world-map.js";

const AT_FIRST = 6; // values of a facet, until more are asked for

export class FacetPanel {
  #folders = byId("folders", HTMLElement);
  #facets = byId("facets", HTMLElement);
  #map = byId("map-button", HTMLButtonElement);
  /** @type {Map<string, HTMLElement>} */
  #drawn = new Map();
  /** @type {Set<string>} of which all values are shown */
  #whole = new Set();
  #ends = new AbortController();
  #counted = "";
  /** @type {Gallery | null} */
  gallery = null;
  /** The query that is asked, to which presses add: what is drawn may still be counted for the one before. */
  #query = NOTHING;

  /** @param {{changed: (query: Query) => void, failed: (error: api.ApiError) => void}} on */
  constructor(on) {
    this.on = on;
  }

  /**
   * Counts what a query leaves, unless that is what is shown.
   * @param {Query} query
   */
  async show(query) {
    this.#query = query;
    const asked = JSON.stringify([query.table, query.filter, this.gallery?.version]);
    if (asked === this.#counted) return;
    this.#counted = asked;
    this.#ends.abort();
    const { signal } = (this.#ends = new AbortController());
    const none = query.table !== "images";
    this.#facets.hidden = this.#folders.hidden = none;
    this.#map.hidden ||= none;
    if (none) return;
    try {
      await Promise.all([this.#showFolders(query, signal), this.#offerMap(query, signal), ...FACETS.map((facet) => this.#showFacet(facet, query, signal))]);
    } catch (error) {
      this.#counted = "";
      if (error instanceof api.ApiError) this.on.failed(error);
      else if (!api.isAbort(error)) throw error;
    }
  }

  /** @param {Query} query @param {AbortSignal} signal */
  async #offerMap(query, signal) {
    const many = await countPlaces(query, signal);
    this.#map.hidden = !many && !query.filter.box;
    byId("map-count", HTMLElement).textContent = count(many);
  }

  /** @param {Facet} facet @param {Query} query @param {AbortSignal} signal */
  async #showFacet(facet, query, signal) {
    const chosen = query.filter.facets[facet.name] ?? [];
    const { values } = await api.facet(facet.counts, whereOf(query, facet.name), signal);
    const all = offered(facet, values, chosen);
    const box = this.#drawn.get(facet.name) ?? element("fieldset", { class: "facet" });
    const draw = () => {
      const some = this.#whole.has(facet.name) ? all : all.filter(({ value }, index) => index < AT_FIRST || chosen.includes(value));
      const focused = box.contains(document.activeElement) ? document.activeElement?.getAttribute("value") : null;
      box.replaceChildren(element("legend", {}, facet.title), ...some.map((one) => this.#value(facet, one, query)));
      if (some.length < all.length) box.append(this.#more(facet.name, facet.title, all.length - some.length, draw));
      for (const input of box.querySelectorAll("input")) if (input.value === focused) input.focus();
    };
    box.hidden = !all.length;
    draw();
    if (this.#drawn.has(facet.name)) return;
    this.#drawn.set(facet.name, box);
    this.#facets.replaceChildren(...FACETS.flatMap(({ name }) => this.#drawn.get(name) ?? []));
  }

  /** @param {Facet} facet @param {{value: string, count: number}} value @param {Query} query */
  #value(facet, { value, count: many }, query) {
    const chosen = query.filter.facets[facet.name] ?? [];
    const input = element("input", { type: "checkbox", value, checked: chosen.includes(value) });
    const label = element("label", { class: "facet-value" }, input, element("span", { dir: "auto" }, shown(value)), " ");
    label.append(element("span", { class: "facet-count", title: counted(many, "picture") }, count(many)));
    input.addEventListener("change", (event) => {
      event.stopPropagation(); // of the form, which holds no facets
      const { filter } = this.#query;
      const others = (filter.facets[facet.name] ?? []).filter((other) => other !== value);
      const values = input.checked ? [...others, value] : others;
      const facets = Object.fromEntries(Object.entries({ ...filter.facets, [facet.name]: values }).filter(([, some]) => some.length));
      this.on.changed({ ...this.#query, filter: { ...filter, facets } });
    });
    return label;
  }

  /** @param {string} name @param {string} title @param {number} left @param {() => void} draw */
  #more(name, title, left, draw) {
    const button = element("button", { type: "button", class: "plain" }, `${count(left)} more`);
    button.setAttribute("aria-label", `${count(left)} more of ${title}`);
    button.addEventListener("click", () => {
      const box = button.closest("fieldset");
      this.#whole.add(name);
      draw();
      const next = box?.querySelectorAll(".folder, input")[AT_FIRST];
      if (next instanceof HTMLElement) next.focus();
    });
    return button;
  }

  /** @param {Query} query @param {AbortSignal} signal */
  async #showFolders(query, signal) {
    const { folder } = query.filter;
    const below = folder ? folderOf(folder) : this.gallery?.roots.length === 1 ? { root: this.gallery.roots[0]?.id } : {};
    const { folders, others } = await api.folders(below, whereOf(query, "folder"), signal);
    const focused = this.#folders.contains(document.activeElement);
    const draw = () => {
      const some = this.#whole.has("folder") ? folders : folders.slice(0, AT_FIRST);
      const rows = some.map((one) => this.#folder(one));
      this.#folders.replaceChildren(element("legend", {}, "Folder"), ...this.#way(query), ...rows);
      if (some.length < folders.length) this.#folders.append(this.#more("folder", "the folders", folders.length - some.length, draw));
      else if (others) this.#folders.append(element("p", { class: "help" }, `and ${counted(others, "further folder")}`));
    };
    draw();
    this.#folders.hidden = !folder && !folders.length;
    if (focused) this.#folders.querySelector("button")?.focus();
  }

  /**
   * The folders above the one that is chosen, and itself.
   * @param {Query} query
   */
  #way(query) {
    const { folder } = query.filter;
    if (!folder) return [];
    const { root, path } = folderOf(folder);
    const steps = [this.#step("All", ""), this.#step(this.#rootName(root), String(root))];
    if (this.gallery?.roots.length === 1) steps.pop();
    const names = path ? path.split("/") : [];
    names.forEach((name, index) => steps.push(this.#step(nameOf(name), `${root}/${names.slice(0, index + 1).join("/")}`)));
    steps.at(-1)?.setAttribute("aria-current", "location");
    return [element("nav", { class: "way", "aria-label": "The folder that is chosen" }, ...steps)];
  }

  /** @param {string} name @param {string} folder */
  #step(name, folder) {
    const button = element("button", { type: "button", class: "plain", dir: "auto" }, shown(name));
    button.addEventListener("click", () => this.on.changed({ ...this.#query, filter: { ...this.#query.filter, folder } }));
    return button;
  }

  /** @param {Folder} one */
  #folder({ root, path, count: many }) {
    const name = path ? nameOf(path.slice(path.lastIndexOf("/") + 1)) : this.#rootName(root);
    const button = this.#step(name, path ? `${root}/${path}` : String(root));
    button.className = "folder";
    button.replaceChildren(icon("folder"), element("span", { dir: "auto" }, shown(name)), " ", element("span", { class: "facet-count", title: counted(many, "picture") }, count(many)));
    return button;
  }

  /** @param {number} root */
  #rootName(root) {
    const path = this.gallery?.roots.find(({ id }) => id === root)?.path ?? `folder ${root}`;
    return path.replace(/\/+$/, "").split("/").at(-1) || path;
  }
}

/**
 * A folder as people know it: an archive is one, whose name ends in a mark within paths.
 * @param {string} name
 */
function nameOf(name) {
  return name.replace(/!$/, "");
}
