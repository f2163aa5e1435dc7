/**
 * Pictures in rows: each in its own shape, all of a row equally high, every row but the last as wide as the page.
 *
 * @typedef {{x: number, y: number, width: number, height: number}} Place
 */

const FLATTEST = 3.2;
const TALLEST = 0.45;

/**
 * How high rows should be, for a page of this width.
 * @param {number} width
 */
export function rowHeight(width) {
  return Math.round(Math.min(250, Math.max(118, 70 + width * 0.13)));
}

/**
 * Where each picture goes. A row is closed where that brings its height closest to the one wanted.
 * @param {readonly number[]} ratios width / height; extreme ones are taken as less extreme, and cropped
 * @param {number} width of the page @param {number} height wanted of a row @param {number} gap
 * @returns {{places: Place[], height: number}}
 */
export function inRows(ratios, width, height, gap) {
  /** @type {Place[]} */
  const places = [];
  let y = 0;
  let first = 0;
  let sum = 0;
  const heightOf = (/** @type {number} */ total, /** @type {number} */ n) => (width - gap * (n - 1)) / total;
  const close = (/** @type {number} */ past, /** @type {number} */ high) => {
    let x = 0;
    for (let place = first; place < past; place += 1) {
      const right = x + clamped(ratios[place]) * high;
      places.push({ x: Math.round(x), y, width: Math.round(right) - Math.round(x), height: Math.round(high) });
      x = right + gap;
    }
    y += Math.round(high) + gap;
    first = past;
    sum = 0;
  };
  ratios.forEach((ratio, place) => {
    const before = place > first ? heightOf(sum, place - first) : Infinity;
    const after = heightOf(sum + clamped(ratio), place - first + 1);
    if (after < height && before - height < height - after) close(place, before);
    sum += clamped(ratio);
    if (heightOf(sum, place - first + 1) <= height) close(place + 1, heightOf(sum, place - first + 1));
  });
  if (first < ratios.length) close(ratios.length, Math.min(height, heightOf(sum, ratios.length - first)));
  return { places, height: Math.max(0, y - gap) };
}

/** @param {number | undefined} ratio */
function clamped(ratio) {
  return ratio && Number.isFinite(ratio) ? Math.min(FLATTEST, Math.max(TALLEST, ratio)) : 1;
}
