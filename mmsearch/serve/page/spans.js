/**
 * Where in its file a hit stands, for people: a frame in a film, a page in a document, a part of a picture.
 *
 * @typedef {import("./api.js").Hit} Hit
 */
const SPAN = /!\/[a-z]+=-?[0-9.,]+$/;

/** @param {Pick<Hit, "start_s" | "page">} hit */
export const isFrame = (hit) => typeof hit.start_s === "number";

/** @param {Pick<Hit, "box">} hit */
export const isPart = (hit) => Array.isArray(hit.box);

/**
 * The path of its file, without the name of the span.
 * @param {Pick<Hit, "path" | "start_s" | "page" | "box">} hit
 * @param {string | null} [path] another one that ends like it
 */
export function wholePath(hit, path = hit.path) {
  const isPiece = isFrame(hit) || isPart(hit) || typeof hit.page === "number";
  return isPiece ? (path ?? "").replace(SPAN, "") : (path ?? "");
}

/**
 * "0:12–0:19" of a moment, "page 2" of a page, "part" of a part of a picture; "" of all others.
 * @param {Pick<Hit, "start_s" | "page" | "box" | "from_s" | "to_s">} hit
 */
export function whereInFile(hit) {
  if (typeof hit.from_s === "number" && typeof hit.to_s === "number")
    return `${clock(Math.floor(hit.from_s))}–${clock(Math.ceil(hit.to_s))}`;
  if (typeof hit.start_s === "number") return clock(Math.floor(hit.start_s));
  if (typeof hit.page === "number") return `page ${hit.page}`;
  return isPart(hit) ? "part" : "";
}

/** @param {number} seconds whole */
export function clock(seconds) {
  const two = (/** @type {number} */ part) => String(part).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}:${two(seconds % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`;
}
