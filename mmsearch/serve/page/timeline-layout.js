/**
 * Where each picture of the timeline stands: months below each other, the pictures of each as equal squares in rows. All
 * of it follows from how many there are of each month, so that nothing moves when pictures come.
 *
 * @typedef {import("./api.js").Month} Month
 * @typedef {{month: string | null, count: number, first: number, top: number, height: number}} Section  first: the place
 *   of its first picture among all. top, height: pixels, its heading among them.
 */

export const HEADING = 48; // pixels of the name of a month
const GAP = 4;
const SIDE = 168; // about so wide a picture is
const FEWEST = 3; // in a row

export class TimelineLayout {
  /** @param {readonly Month[]} months @param {number} width of the pictures */
  constructor(months, width) {
    this.columns = Math.max(FEWEST, Math.round(width / SIDE));
    this.side = Math.max(1, Math.floor((width - GAP * (this.columns - 1)) / this.columns));
    this.step = this.side + GAP;
    let first = 0;
    let top = 0;
    /** @type {Section[]} */
    this.sections = months.map(({ month, count }) => {
      const height = HEADING + Math.ceil(count / this.columns) * this.step;
      const section = { month, count, first, top, height };
      first += count;
      top += height;
      return section;
    });
    this.length = first;
    this.height = top;
  }

  /**
   * The index of the section at a height.
   * @param {number} y
   */
  sectionAt(y) {
    return lastWhere(this.sections, (section) => section.top <= y);
  }

  /**
   * The index of the section that holds a place.
   * @param {number} place
   */
  sectionOf(place) {
    return lastWhere(this.sections, (section) => section.first <= place);
  }

  /**
   * Where a picture stands within its section, in pixels.
   * @param {number} place
   */
  position(place) {
    const index = this.sectionOf(place);
    const within = place - (this.sections[index]?.first ?? 0);
    return { index, x: (within % this.columns) * this.step, y: HEADING + Math.floor(within / this.columns) * this.step };
  }

  /**
   * The places of a section that stand between two heights: from the first up to the second.
   * @param {Section} section @param {number} above @param {number} below
   * @returns {[number, number]}
   */
  between(section, above, below) {
    const row = (/** @type {number} */ y) => (y - section.top - HEADING) / this.step;
    const from = Math.max(0, Math.floor(row(above))) * this.columns;
    const to = Math.max(0, Math.ceil(row(below))) * this.columns;
    return [section.first + Math.min(section.count, from), section.first + Math.min(section.count, to)];
  }

  /**
   * The places of the pictures that a rectangle touches.
   * @param {number} left @param {number} top @param {number} right @param {number} bottom
   */
  placesIn(left, top, right, bottom) {
    const first = Math.max(0, Math.floor((left + GAP) / this.step));
    const last = Math.min(this.columns - 1, Math.floor(right / this.step));
    /** @type {number[]} */
    const places = [];
    for (let index = this.sectionAt(Math.max(0, top)); (this.sections[index]?.top ?? Infinity) < bottom; index += 1) {
      const section = /** @type {Section} */ (this.sections[index]);
      const [from, to] = this.between(section, top, bottom);
      for (let place = from; place < to; place += 1) {
        const column = (place - section.first) % this.columns;
        if (column >= first && column <= last) places.push(place);
      }
    }
    return places;
  }

  /**
   * The place in the row above (-1) or below (1) a picture, in the same column as far as there is one; null above the first.
   * @param {number} place @param {1 | -1} step
   */
  beside(place, step) {
    const index = this.sectionOf(place);
    const section = this.sections[index];
    if (!section) return null;
    const column = (place - section.first) % this.columns;
    const row = place - column + step * this.columns;
    if (row >= section.first && row < section.first + section.count) {
      return Math.min(row + column, section.first + section.count - 1);
    }
    const next = this.sections[index + step];
    if (!next) return step < 0 ? null : place;
    const start = step > 0 ? 0 : Math.floor((next.count - 1) / this.columns) * this.columns;
    return next.first + Math.min(start + column, next.count - 1);
  }
}

/**
 * The index of the last of some ascending entries for which a test holds; 0 where there is none.
 * @template T
 * @param {readonly T[]} entries @param {(entry: T) => boolean} test
 */
function lastWhere(entries, test) {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const entry = entries[middle];
    if (entry !== undefined && test(entry)) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}
