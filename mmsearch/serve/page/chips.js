/**
 * The parts of the query and the filters as chips: each can be taken away, and weighed where there are several.
 *
 * @typedef {import("./query.js").Query} Query
 * @typedef {import("./query.js").Part} Part
 * @typedef {import("./query.js").Filter} Filter
 */
import * as api from "./api.js";
import { byId, element, icon } from "./elements.js";
import { previews } from "./pictures.js";
import { FACETS } from "./facets.js";
import { NO_FILTER, changedPart, folderOf, isAsked, isReranked, partsOf, rowAndBox, withPart, withoutPart } from "./query.js";
import { count, split, shown } from "./text.js";

const WEIGHTS = [0.5, 1, 2, 3, -0.5, -1, -2];

/** @param {number} weight */
function weightName(weight) {
  const much = Math.abs(weight) === 0.5 ? "½" : String(Math.abs(weight));
  return weight < 0 ? (weight === -1 ? "avoid" : `avoid ${much}×`) : `${much}×`;
}

/**
 * Names of rows that parts are like.
 * @type {Map<string, Promise<string>>}
 */
const names = new Map();

export class Chips {
  /**
   * Pictures on their way to the server.
   * @type {{preview: string, name: string}[]}
   */
  #sending = [];
  /**
   * Content hashes that the server does not know.
   * @type {Set<string>}
   */
  #unknown = new Set();
  #list = element("div", { class: "chips-list" });
  #avoid = element("input", { type: "text", placeholder: "Avoid…", "aria-label": "Avoid: words to keep away from", enterkeyhint: "done", autocapitalize: "none" });

  /** @param {{changed: (query: Query) => void, choose: () => void, add: () => void, lost: () => void}} on
   * choose: a file for a picture that the server does not know. add: another picture. lost: the chip that had the focus is gone. */
  constructor(on) {
    this.on = on;
    const form = element("form", { class: "chip avoid" }, icon("minus"), this.#avoid);
    byId("chips", HTMLElement).append(this.#list, form);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const words = this.#avoid.value.trim();
      this.#avoid.value = "";
      if (words && this.query) on.changed(withPart(this.query, { kind: "text", value: words, weight: -1 }));
    });
    this.#avoid.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#avoid.value = "";
    });
    // Leaving a field changes the query and so draws the chips anew, which must not happen between press and click.
    this.#list.addEventListener("mousedown", (event) => {
      if (event.target instanceof Element && event.target.closest("button")) event.preventDefault();
    });
    this.#avoid.addEventListener("blur", ({ relatedTarget }) => {
      const toChip = relatedTarget instanceof Node && this.#list.contains(relatedTarget);
      if (this.#avoid.value.trim() && !toChip) form.requestSubmit();
    });
  }

  /** @type {Query | null} */
  query = null;

  /** @param {Query} query */
  show(query) {
    this.query = query;
    const several = partsOf(query).filter((part) => part.kind !== "mark").length > 1;
    const chips = [];
    if (several && query.words.trim()) chips.push(this.#words(query));
    query.parts.forEach((part, place) => {
      if (part.kind !== "mark") chips.push(this.#part(query, part, place, several)); // what teaches has its own line
    });
    for (const { preview, name } of this.#sending) chips.push(sending(preview, name));
    if (query.parts.some((part) => part.kind === "picture" || part.kind === "like")) {
      const add = element("button", { type: "button", class: "chip-add", "data-key": "add" }, icon("plus"), "Add a picture");
      add.addEventListener("click", () => this.on.add());
      chips.push(add);
    }
    chips.push(...this.#filters(query));
    const focused = this.#list.contains(document.activeElement) && document.activeElement?.getAttribute("data-key");
    this.#list.replaceChildren(...chips);
    if (!focused) return;
    const again = this.#list.querySelector(`[data-key="${CSS.escape(focused)}"]`);
    if (again instanceof HTMLElement) again.focus();
    else this.on.lost();
  }

  /**
   * Shows a picture that is on its way; call what it returns when it has arrived, or not.
   * @param {File} file
   */
  sending(file) {
    const one = { preview: URL.createObjectURL(file), name: file.name };
    this.#sending.push(one);
    if (this.query) this.show(this.query);
    return () => {
      this.#sending = this.#sending.filter((other) => other !== one);
      URL.revokeObjectURL(one.preview);
    };
  }

  /**
   * Marks a picture that the server does not know.
   * @param {string} hash
   * @param {boolean} unknown
   */
  mark(hash, unknown) {
    if (unknown) this.#unknown.add(hash);
    else this.#unknown.delete(hash);
    if (this.query) this.show(this.query);
  }

  /** @param {Query} query */
  #words(query) {
    const words = query.words.trim();
    const chip = element("span", { class: "chip" }, element("span", { class: "chip-words", dir: "auto" }, shown(words)));
    chip.append(this.#weight("words", words, query.weight, (weight) => ({ ...query, weight })));
    chip.append(this.#remove("words", words, { ...query, words: "", weight: 1 }));
    return chip;
  }

  /** @param {Query} query @param {Part} part @param {number} place @param {boolean} several */
  #part(query, part, place, several) {
    const key = `${part.kind}:${part.value}`;
    const chip = element("span", { class: part.weight < 0 ? "chip away" : "chip" });
    let name = `“${shown(part.value)}”`;
    if (part.kind === "text") chip.append(element("span", { class: "chip-words", dir: "auto" }, shown(part.value)));
    if (part.kind === "picture") {
      name = "your picture";
      const unknown = this.#unknown.has(part.value);
      chip.classList.toggle("unknown", unknown);
      if (unknown) {
        const choose = element("button", { type: "button", class: "chip-choose", "data-key": `choose:${key}` }, icon("picture"), "Choose the picture again");
        choose.addEventListener("click", () => this.on.choose());
        chip.append(choose);
      } else chip.append(picture(previews(part.value), name), element("span", { class: "chip-words" }, "picture"));
    }
    if (part.kind === "like") {
      const { row, box } = rowAndBox(part.value);
      name = box ? `a part of picture ${row}` : `picture ${row}`;
      const words = element("span", { class: "chip-words", dir: "auto" }, "like this");
      const image = picture([box ? api.part(row, box) : api.thumbnail(row, 320)], name);
      chip.append(image, words);
      void nameOf(String(row)).then((known) => {
        words.textContent = box ? `a part of ${known}` : known;
        chip.title = words.textContent;
        image.alt = known;
      });
    }
    if (several || part.weight !== 1) {
      chip.append(this.#weight(key, name, part.weight, (weight) => changedPart(query, place, { weight })));
    }
    chip.append(this.#remove(key, name, withoutPart(query, place)));
    return chip;
  }

  /** @param {Query} query */
  #filters(query) {
    const { filter } = query;
    const image = query.table === "images";
    /** @type {[string, string, Partial<Filter>][]} */
    const set = [];
    const shape = { landscape: "Wide", portrait: "Tall", square: "Square" }[filter.shape];
    if (image && shape) set.push(["shape", shape, { shape: "" }]);
    if (image && filter.edge) set.push(["edge", `At least ${count(Number(filter.edge))} pixels`, { edge: "" }]);
    if (image && (filter.from || filter.to)) {
      const words = filter.from && filter.to ? `${filter.from} to ${filter.to}` : filter.from ? `Since ${filter.from}` : `Until ${filter.to}`;
      set.push(["dates", words, { from: "", to: "" }]);
    }
    for (const { name } of image ? FACETS : []) {
      const values = filter.facets[name] ?? [];
      const { [name]: _, ...others } = filter.facets;
      if (values.length) set.push([name, values.map(shown).join(" or "), { facets: others }]);
    }
    if (image && filter.box) set.push(["box", "A part of the map", { box: "" }]);
    if (filter.folder) set.push(["folder", `In ${shown(folderOf(filter.folder).path || "one of the folders")}`, { folder: "" }]);
    if (filter.path.trim()) set.push(["path", `Path: ${shown(filter.path.trim())}`, { path: "" }]);
    if (filter.score) set.push(["score", `Score ≥ ${filter.score}`, { score: "" }]);
    if (filter.distinct) set.push(["distinct", "No near-duplicates", { distinct: false }]);
    if (image && filter.newest) set.push(["newest", "Newest first", { newest: false }]);
    if (image && filter.rerank && isAsked(query)) {
      set.push(["rerank", isReranked(query) ? "Re-ranked" : "Not re-ranked: ask with words alone", { rerank: "" }]);
    }
    if (filter.where.trim()) set.push(["where", shown(filter.where.trim().replace(/\s+/g, " ")), { where: "" }]);
    const chips = set.map(([key, words, without]) => {
      const chip = element("span", { class: key === "where" ? "chip filter sql" : "chip filter" });
      chip.append(element("span", { class: "chip-words", title: words }, words));
      chip.append(this.#remove(`filter:${key}`, words, { ...query, filter: { ...filter, ...without } }));
      return chip;
    });
    if (query.table !== "images") {
      const words = query.table === "captions" ? "Among captions" : "Among pictures and captions";
      const chip = element("span", { class: "chip filter" }, element("span", { class: "chip-words" }, words));
      const pictures = /** @type {Query} */ ({ ...query, table: "images", filter: { ...NO_FILTER, ...filter } });
      chip.append(this.#remove("filter:table", words, pictures));
      chips.unshift(chip);
    }
    return chips;
  }

  /** @param {string} key @param {string} name @param {number} weight @param {(weight: number) => Query} change */
  #weight(key, name, weight, change) {
    const all = WEIGHTS.includes(weight) ? WEIGHTS : [weight, ...WEIGHTS];
    const select = element("select", { class: "chip-weight", "aria-label": `Weight of ${name}`, "data-key": `weight:${key}`, title: "How much this counts" });
    for (const one of all) select.append(element("option", { value: one, selected: one === weight }, weightName(one)));
    select.addEventListener("change", () => this.on.changed(change(Number(select.value))));
    return select;
  }

  /** @param {string} key @param {string} name @param {Query} without */
  #remove(key, name, without) {
    const button = element("button", { type: "button", class: "chip-remove", "aria-label": `Remove ${name}`, "data-key": `remove:${key}` }, icon("close"));
    button.addEventListener("click", () => this.on.changed(without));
    return button;
  }
}

/**
 * A small image, from the first source that gives one.
 * @param {string[]} sources
 * @param {string} name
 */
function picture(sources, name) {
  const left = [...sources];
  const image = element("img", { alt: name, class: "chip-picture" });
  image.addEventListener("error", () => {
    const next = left.shift();
    if (next) image.src = next;
    else image.replaceWith(icon("picture"));
  });
  image.src = left.shift() ?? "";
  return image;
}

/** @param {string} preview @param {string} name */
function sending(preview, name) {
  const chip = element("span", { class: "chip sending" }, picture([preview], ""), element("span", { class: "chip-words", dir: "auto" }, shown(name)));
  chip.append(element("span", { class: "busy" }));
  return chip;
}

/**
 * The file name of a row.
 * @param {string} row
 */
function nameOf(row) {
  const known = names.get(row) ?? api.item(Number(row)).then(
    (item) => split(item.path)[0],
    () => "no longer in the gallery",
  );
  names.set(row, known);
  return known;
}
