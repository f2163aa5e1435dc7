/** Values as people read them. Whatever comes from names and captions goes through `shown`. */

// What would steer the line it stands in: controls, and marks that turn the direction of what follows. Joiners stay:
// without them emoji and several scripts fall apart.
const UNSHOWABLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb]/g;

/**
 * Text with nothing hidden in it: controls as escapes.
 * @param {string} text
 */
export function shown(text) {
  return text.replace(UNSHOWABLE, (mark) => {
    if (mark === "\n") return "\\n";
    const code = mark.codePointAt(0) ?? 0;
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/**
 * A caption: white space as a single blank, the rest as `shown`.
 * @param {string} text
 */
export function sentence(text) {
  return shown(text.replace(/\s+/g, " ").trim());
}

/**
 * What a model says of a picture, marked as such.
 * @param {string} text
 */
export function guessed(text) {
  return `a machine's guess: ${sentence(text)}`;
}

/** What an address adds to that of a file, of a piece of which it is. */
const PIECE = /!\/(box|page|t)=[^/]*$/;

/**
 * The last part of a path, and what stands before it.
 * @param {string | null} path
 * @returns {[string, string]}
 */
export function split(path) {
  const whole = shown((path ?? "").replace(PIECE, ""));
  const cut = whole.lastIndexOf("/");
  return [whole.slice(cut + 1), cut < 0 ? "" : whole.slice(0, cut)];
}

const NUMBERS = new Intl.NumberFormat("en");

/** @param {number} value */
export const count = (value) => NUMBERS.format(value);

/**
 * "1 picture", "2,000 pictures".
 * @param {number} value
 * @param {string} what
 */
export const counted = (value, what) => `${count(value)} ${what}${value === 1 ? "" : "s"}`;

/** @param {number} bytes */
export function size(bytes) {
  const units = ["bytes", "kB", "MB", "GB"];
  let place = 0;
  while (bytes >= 1000 && place < units.length - 1) {
    bytes /= 1000;
    place += 1;
  }
  return `${place && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[place]}`;
}

/**
 * A time of the gallery, which has no zone: as it stands in the file.
 * @param {string} time ISO 8601
 */
export const when = (time) => dated(time, { dateStyle: "long", timeStyle: "short" });

/**
 * The day of such a time.
 * @param {string} time
 */
export const day = (time) => dated(time, { dateStyle: "medium" });

/**
 * A month of the timeline.
 * @param {string | null} month as 2024-05; null where it is not known
 */
export const monthName = (month) => (month ? dated(`${month}-01T00:00`, { month: "long", year: "numeric" }) : "No date");

/** @param {string} time @param {Intl.DateTimeFormatOptions} how */
function dated(time, how) {
  const at = new Date(/[zZ]|T.*[+-]\d\d:?\d\d$/.test(time) ? time : `${time}Z`);
  if (Number.isNaN(at.getTime())) return shown(time);
  return at.toLocaleString("en-GB", { ...how, timeZone: "UTC" });
}

/** @param {number} score */
export const score = (score) => score.toFixed(3);

/**
 * Why a picture is not there, by what the server answered.
 * @param {import("./api.js").ApiError | null} why
 */
export function absence(why) {
  if (why?.status === 404) return "No longer in the gallery";
  if (why?.status !== 410) return "It cannot be shown";
  return shown(why.message.charAt(0).toUpperCase() + why.message.slice(1));
}

/**
 * The chance that a hit is relevant; null where that is not known.
 * @param {{probability?: number | null}} hit
 */
export const worth = ({ probability }) =>
  typeof probability === "number" ? `${probability < 0.01 ? "< 1" : Math.round(100 * probability)} %` : null;

/**
 * What a hit is worth beside the others, as its rank goes by it: what a re-ranker finds, its standard score among
 * items of several kinds, else the chance that it is relevant, or its score.
 * @param {import("./api.js").Hit} hit
 */
export function standing(hit) {
  if (typeof hit.rerank === "number") return hit.rerank.toFixed(2);
  if (typeof hit.z === "number") return `${hit.z.toFixed(1)} σ`;
  return worth(hit) ?? score(hit.score ?? 0);
}
