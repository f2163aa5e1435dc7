/**
 * Teaching by example: pictures of the answer are marked as right or wrong, and the query learns from them. The marks are
 * parts of the query, so that the address holds them and "back" takes the last one away.
 *
 * @typedef {import("./api.js").Gallery} Gallery
 * @typedef {import("./api.js").Hit} Hit
 * @typedef {import("./current-query.js").CurrentQuery} CurrentQuery
 * @typedef {import("./query.js").Part} Part
 * @typedef {import("./query.js").Query} Query
 * @typedef {import("./search.js").Shown} Shown
 * @typedef {import("./viewer-history.js").PictureList} PictureList
 * @typedef {import("./viewer-history.js").ViewerHistory} ViewerHistory
 */
import * as api from "./api.js";
import { byId, element, icon, say } from "./elements.js";
import { KeepForm } from "./keep-form.js";
import { toast } from "./notices.js";
import { NOTHING, countMarks, isAsked, isTimeline, keptName, marksOf } from "./query.js";
import { count } from "./text.js";
import { isMarkable } from "./tile-marks.js";
import { nameOf } from "./tile.js";

const ENOUGH = 2; // of a side: with fewer nothing can be said of how well they agree

export class Teaching {
  /** The most parts that the server takes of a query. */
  most = 64;
  #panel = byId("taught", HTMLElement);
  #button = byId("teach", HTMLButtonElement);
  #right = byId("viewer-right", HTMLButtonElement);
  #wrong = byId("viewer-wrong", HTMLButtonElement);
  #form;
  /**
   * What pictures are called that were marked here.
   * @type {Map<string, string>}
   */
  #names = new Map();
  /**
   * The mark whose answer is awaited, and where its picture stood. focused: among the others, it had the focus.
   * @type {{row: number, place: number, words: string, focused: boolean, scroll: number} | null}
   */
  #awaited = null;

  /**
   * @param {{query: CurrentQuery, list: () => PictureList, view: () => ViewerHistory}} parts of the page
   * @param {(error: unknown) => void} failed
   */
  constructor({ query, list, view }, failed) {
    this.query = query;
    this.list = list;
    this.view = view;
    this.#form = new KeepForm(() => query.value, (words) => void query.ask({ ...NOTHING, words }), failed);
    this.#button.addEventListener("click", () => this.#setTeaching(!document.body.classList.contains("teaching")));
    byId("taught-undo", HTMLButtonElement).addEventListener("click", () => this.undo());
    byId("taught-forget", HTMLButtonElement).addEventListener("click", () => this.#forget());
    for (const [button, right] of /** @type {[HTMLButtonElement, boolean][]} */ ([[this.#right, true], [this.#wrong, false]])) {
      button.addEventListener("click", () => {
        const { hit } = this.view().viewer;
        if (hit) this.mark(hit, right);
      });
    }
  }

  /** What keys do with a picture in the large view, or among others.
   * @type {Readonly<Record<string, (hit: Hit) => void>>}
   */
  keys = {
    y: (hit) => this.mark(hit, true),
    n: (hit) => this.mark(hit, false),
    u: () => this.undo(),
  };

  /** @param {Gallery} gallery */
  about(gallery) {
    this.most = gallery.limits.parts;
    this.#form.about(gallery);
  }

  /** The weight of a picture's mark; 0 where it has none.
   * @param {number} row
   */
  markOf(row) {
    return marksOf(this.query.value).find((part) => part.value === String(row))?.weight ?? 0;
  }

  /**
   * Marks a picture as right or wrong; where it is marked so already, it no longer is.
   * @param {Hit} hit @param {boolean} right
   */
  mark(hit, right) {
    if (!isMarkable(hit)) return toast("Marks teach which pictures are right: search among pictures alone");
    const query = this.query.value;
    const value = String(hit.row_id);
    const before = this.markOf(hit.row_id);
    const others = query.parts.filter((part) => part.kind !== "mark" || part.value !== value);
    const undone = before !== 0 && before > 0 === right;
    if (!undone && others.length + 1 >= this.most) return toast(`One query takes ${count(this.most)} marks and no more: take some back`);
    /** @type {Query} */
    const asked = { ...query, timeline: false, parts: undone ? others : [...others, { kind: "mark", value, weight: right ? 1 : -1 }] };
    if (!isAsked(asked) && !undone) return toast("Say first what you look for: in words, or mark a picture that is right");
    this.#names.set(value, nameOf(hit));
    const words = undone ? "The mark is taken back" : right ? "Marked as right" : "Marked as wrong";
    void this.#ask(asked, hit.row_id, words);
  }

  /** Takes the last mark back. */
  undo() {
    const last = marksOf(this.query.value).at(-1);
    if (!last) return toast("No picture is marked");
    this.#without((part) => part === last, Number(last.value));
  }

  /** Whether an answer to a mark is on its way; then its pictures stay about where they were. */
  get isAwaited() {
    return this.#awaited !== null;
  }

  /** How far the page was scrolled when the picture was marked. */
  get scroll() {
    return this.#awaited?.scroll ?? 0;
  }

  /**
   * An answer is shown: says what taught it, and goes on where the picture was that was marked. Returns what screen readers
   * are told of the mark; "" where the answer is to none.
   * @param {Shown} answer
   */
  answered(answer) {
    const { query } = answer;
    const { right, wrong } = countMarks(query);
    const kept = keptName(query);
    this.#button.hidden = query.table !== "images" || isTimeline(query);
    this.#panel.hidden = !(right + wrong) && !(kept && answer.hits.length);
    const marks = marksOf(query);
    byId("taught-marks", HTMLElement).replaceChildren(...marks.map((part) => this.#chip(part)));
    byId("taught-undo", HTMLElement).hidden = byId("taught-forget", HTMLElement).hidden = !marks.length;
    const words = sureness(answer, right, wrong, kept);
    say(byId("taught-words", HTMLElement), words);
    this.#form.show(query);
    const awaited = this.#awaited;
    this.#awaited = null;
    if (!awaited) return "";
    this.#goOn(awaited);
    if (this.view().viewer.isOpen) toast(`${awaited.words}. ${words}`); // what lies behind it is not seen
    return `${awaited.words}. ${words}`;
  }

  /** Shows what a picture in the large view is marked as.
   * @param {Hit | null} hit null: none is open
   */
  shown(hit) {
    const markable = hit !== null && isMarkable(hit);
    const weight = markable ? this.markOf(hit.row_id) : 0;
    this.#right.hidden = this.#wrong.hidden = !markable;
    this.#right.setAttribute("aria-pressed", String(weight > 0));
    this.#wrong.setAttribute("aria-pressed", String(weight < 0));
  }

  /** @param {Query} asked @param {number} row @param {string} words */
  async #ask(asked, row, words) {
    const view = this.view();
    const open = view.viewer.isOpen;
    const place = open && view.viewer.place >= 0 ? view.viewer.place : this.list().placeOf(row);
    const focused = !open && document.activeElement !== null && document.activeElement.closest(".tile") !== null;
    const awaited = (this.#awaited = { row, place, words, focused, scroll: scrollY });
    const asking = this.query.ask(asked, open ? "stay" : "push");
    if (open) {
      view.keepOpen();
      this.shown(view.viewer.hit);
    }
    await asking;
    if (this.#awaited === awaited) this.#awaited = null; // no answer came
  }

  /**
   * After a mark: to the same picture where it is still among the answers, else to the one that took its place.
   * @param {{row: number, place: number, focused: boolean}} awaited
   */
  #goOn({ row, place, focused }) {
    const list = this.list();
    const view = this.view();
    const now = list.placeOf(row);
    const to = now >= 0 ? now : Math.min(place, list.length - 1);
    if (view.viewer.isOpen) {
      const hit = list.hitAt(now);
      if (hit && view.viewer.hit?.row_id === row) return view.viewer.moveTo(hit, now);
      return view.viewer.hit?.row_id === row ? view.replace(to) : undefined;
    }
    if (focused && to >= 0) list.focus(to);
  }

  /** @param {Part} part */
  #chip(part) {
    const right = part.weight > 0;
    const word = right ? "right" : "wrong";
    const name = this.#names.get(part.value) ?? `picture ${part.value}`;
    const label = `${name} is ${word}: take this mark back`;
    const image = element("img", { alt: "", src: api.thumbnail(Number(part.value), 320), loading: "lazy" });
    image.addEventListener("error", () => image.replaceWith(icon("picture")));
    const button = element("button", { type: "button", class: `taught-mark ${word}`, "aria-label": label, title: label }, image, icon(`${word}-mark`));
    button.addEventListener("click", () => this.#without((other) => other === part, Number(part.value)));
    return element("li", {}, button);
  }

  #forget() {
    this.#without(() => true, -1);
  }

  /** @param {(mark: Part) => boolean} gone @param {number} row to which it goes on */
  #without(gone, row) {
    const query = this.query.value;
    const parts = query.parts.filter((part) => part.kind !== "mark" || !gone(part));
    const several = query.parts.length - parts.length > 1;
    void this.#ask({ ...query, parts }, row, several ? "All marks are taken back" : "The mark is taken back");
  }

  /** @param {boolean} teaching whether all pictures show their thumbs */
  #setTeaching(teaching) {
    document.body.classList.toggle("teaching", teaching);
    this.#button.setAttribute("aria-pressed", String(teaching));
  }
}

/**
 * What taught an answer, and how sure it is.
 * @param {Shown} answer @param {number} right @param {number} wrong @param {string} kept
 */
function sureness({ notes }, right, wrong, kept) {
  const own = [right ? `${count(right)} right` : "", wrong ? `${count(wrong)} wrong` : ""].filter(Boolean).join(", ");
  const asked = kept ? `Asked as @${kept}${own ? `, and ${own}` : ""}` : own || "No marks";
  const note = notes.map((one) => one.charAt(0).toUpperCase() + one.slice(1)).join(" ");
  if (note) return `${asked}. ${note}.`;
  if (kept || !(right + wrong)) return `${asked}.`;
  return `${asked}. With ${count(ENOUGH)} marks of each side it says how sure it is.`;
}
