/**
 * The years beside the timeline: a slider over all of it, by pointer and by keys.
 *
 * @typedef {import("./timeline-layout.js").TimelineLayout} TimelineLayout
 */
import { byId, element } from "./elements.js";
import { count, counted, monthName } from "./text.js";

const APART = 20; // pixels between the names of two years

export class TimelineRail {
  #rail = byId("rail", HTMLElement);
  #years = byId("rail-years", HTMLElement);
  #mark = byId("rail-mark", HTMLElement);
  #bubble = byId("rail-bubble", HTMLElement);
  /** @type {TimelineLayout | null} */
  #layout = null;
  #index = 0;

  /** @param {(y: number) => void} go to a height of the timeline */
  constructor(go) {
    this.go = go;
    this.#rail.addEventListener("keydown", (event) => this.#key(event));
    this.#rail.addEventListener("pointerdown", (event) => {
      this.#rail.setPointerCapture(event.pointerId);
      this.#rail.classList.add("held");
      this.#drag(event);
    });
    this.#rail.addEventListener("pointermove", (event) => {
      if (this.#rail.hasPointerCapture(event.pointerId)) this.#drag(event);
      else this.#point(this.#heightAt(event), event.clientY - this.#rail.getBoundingClientRect().top);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.#rail.addEventListener(end, () => this.#rail.classList.remove("held"));
    }
    addEventListener("resize", () => this.#layout && this.show(this.#layout));
  }

  /** @param {TimelineLayout} layout */
  show(layout) {
    this.#layout = layout;
    const { sections } = layout;
    this.#rail.hidden = sections.length < 2;
    const high = this.#rail.clientHeight;
    let lowest = -APART;
    let named = "";
    /** @type {HTMLElement[]} */
    const marks = [];
    for (const { month, top } of sections) {
      const year = month?.slice(0, -3) ?? "–";
      const y = (top / layout.height) * high;
      if (year === named) continue;
      named = year;
      const room = y - lowest >= APART && y < high - APART / 2;
      if (room) lowest = y;
      const mark = element("span", { class: room ? "rail-year" : "rail-dot" }, room ? year : "");
      mark.style.top = `${y}px`;
      marks.push(mark);
    }
    this.#years.replaceChildren(...marks);
    this.#rail.setAttribute("aria-valuemax", String(Math.max(0, sections.length - 1)));
  }

  /**
   * The screen shows what stands from this height on.
   * @param {number} y @param {number} screen its height
   */
  moveTo(y, screen) {
    if (!this.#layout) return;
    const share = Math.min(1, y / Math.max(1, this.#layout.height - screen));
    const index = this.#layout.sectionAt(y + 2);
    this.#index = share < 1 ? index : Math.max(index, this.#index); // of the last ones none reaches the top
    const section = this.#layout.sections[this.#index];
    const at = share * this.#rail.clientHeight;
    this.#mark.style.top = `${at}px`;
    this.#rail.setAttribute("aria-valuenow", String(this.#index));
    this.#rail.setAttribute("aria-valuetext", section ? `${monthName(section.month)}, ${counted(section.count, "picture")}` : "");
    if (!this.#rail.matches(":hover")) this.#point(y + 2, at);
  }

  /** @param {PointerEvent} event */
  #drag(event) {
    event.preventDefault();
    const y = this.#heightAt(event);
    this.#point(y, event.clientY - this.#rail.getBoundingClientRect().top);
    this.go(y);
  }

  /** @param {PointerEvent} event */
  #heightAt(event) {
    const { top, height } = this.#rail.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientY - top) / height));
    return share * ((this.#layout?.height ?? 0) - 1);
  }

  /**
   * Names the month at a height of the timeline.
   * @param {number} y @param {number} at pixels down the rail
   */
  #point(y, at) {
    const section = this.#layout?.sections[this.#layout.sectionAt(y)];
    if (!section) return;
    this.#bubble.textContent = `${monthName(section.month)} · ${count(section.count)}`;
    this.#bubble.style.top = `${Math.min(this.#rail.clientHeight, Math.max(0, at))}px`;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const sections = this.#layout?.sections ?? [];
    const last = sections.length - 1;
    const to = /** @type {Record<string, () => number>} */ ({
      ArrowUp: () => this.#index - 1,
      ArrowLeft: () => this.#index - 1,
      ArrowDown: () => this.#index + 1,
      ArrowRight: () => this.#index + 1,
      PageUp: () => this.#yearAway(-1),
      PageDown: () => this.#yearAway(1),
      Home: () => 0,
      End: () => last,
    })[event.key]?.();
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.#index = Math.min(last, Math.max(0, to));
    this.go(sections[this.#index]?.top ?? 0);
  }

  /**
   * The first month of the year before or after the one that is shown.
   * @param {1 | -1} step
   */
  #yearAway(step) {
    const sections = this.#layout?.sections ?? [];
    const yearOf = (/** @type {number} */ index) => sections[index]?.month?.slice(0, -3);
    let index = this.#index;
    while (sections[index + step] && yearOf(index + step) === yearOf(this.#index)) index += step;
    index += step;
    while (step < 0 && index > 0 && yearOf(index - 1) === yearOf(index)) index -= 1;
    return index;
  }
}
