/**
 * Where in its file a hit stands, for people: a frame in a film, a page in a document.
 *
 * @typedef {import("./api.js").Hit} Hit
 */
const MEMBER = "!/";

/** @param {Pick<Hit, "start_s" | "page">} hit */
export const isFrame = (hit) => typeof hit.start_s === "number";

/**
 * The path of its file, without the name of the span.
 * @param {Pick<Hit, "path" | "start_s" | "page">} hit
 * @param {string | null} [path] another one that ends like it
 */
export function wholePath(hit, path = hit.path) {
  const cut = isFrame(hit) || typeof hit.page === "number" ? (path ?? "").lastIndexOf(MEMBER) : -1;
  return cut < 0 ? (path ?? "") : (path ?? "").slice(0, cut);
}

/**
 * "0:12–0:19" of a moment, "page 2" of a page; "" of all others.
 * @param {Pick<Hit, "start_s" | "page" | "from_s" | "to_s">} hit
 */
export function whereInFile(hit) {
  if (typeof hit.from_s === "number" && typeof hit.to_s === "number")
    return `${clock(Math.floor(hit.from_s))}–${clock(Math.ceil(hit.to_s))}`;
  if (typeof hit.start_s === "number") return clock(Math.floor(hit.start_s));
  return typeof hit.page === "number" ? `page ${hit.page}` : "";
}

/** @param {number} seconds whole */
export function clock(seconds) {
  const two = (/** @type {number} */ part) => String(part).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}:${two(seconds % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`;
}
