/**
 * The server: one function a request. Every failure is an ApiError. The types of what goes over the wire are made from
 * the server's own description of its API.
 *
 * @typedef {import("./query.js").Query} Query
 * @typedef {import("./messages.js").Answers} Answers
 * @typedef {import("./messages.js").AnswerBody} Answer
 * @typedef {import("./messages.js").ColumnBody} Column
 * @typedef {import("./messages.js").Edge} Edge
 * @typedef {import("./messages.js").ErrorBody} ErrorBody
 * @typedef {import("./messages.js").FacetValueBody} FacetValue
 * @typedef {import("./messages.js").FolderBody} Folder
 * @typedef {import("./messages.js").GalleryBody} Gallery
 * @typedef {Pick<import("./messages.js").HitBody | import("./messages.js").SampledBody, "rank" | "score" | "row_id" | "path"
 *   | "file" | "caption" | "guessed_by" | "image" | "width" | "height" | "taken_at" | "taken_from" | "camera" | "lens"
 *   | "city" | "country" | "title" | "gone" | "corrected" | "probability" | "z" | "rerank" | "table" | "start_s" | "page" | "box" | "from_s" | "to_s">} Hit  What the page reads of one.
 * @typedef {import("./messages.js").ImageBody} Item
 * @typedef {import("./messages.js").MonthBody} Month
 * @typedef {import("./messages.js").PlaceBody} Place
 * @typedef {import("./messages.js").RegionBody} Region
 */
import { bodyOf, momentsBodyOf, partBodies } from "./query.js";

export class ApiError extends Error {
  /** @param {number} status 0 where no answer came @param {string} words @param {Partial<ErrorBody>} [body] */
  constructor(status, words, body = {}) {
    super(words);
    this.status = status;
    this.code = body.code ?? "";
    this.body = body;
  }

  /** Whether it was not the server itself that answered: the same request may succeed when it is back. */
  get unreachable() {
    return this.status === 0 || (this.status >= 502 && this.status <= 504 && !("error" in this.body));
  }

  /** Whether the same request may succeed later. */
  get passes() {
    return this.unreachable || this.status === 429 || this.status === 503;
  }
}

/**
 * Whether an error only says that nobody waits any more.
 * @param {unknown} error
 */
export function isAbort(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

/** @param {string} path @param {RequestInit} [init] @returns {Promise<Response>} */
async function request(path, init) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...init });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError(0, "The server does not answer.");
  }
  if (response.ok) return response;
  /** @type {Partial<ErrorBody>} */
  let body = {};
  try {
    body = await response.json();
  } catch {
    // not the server's own words: a proxy's page, or half an answer
  }
  const words = typeof body.error === "string" ? body.error : `The server answered ${response.status}.`;
  throw new ApiError(response.status, words, body);
}

/**
 * What a route answers.
 * @template {keyof Answers} Route
 * @param {Route} route
 * @param {RequestInit & {named?: Record<string, string | number>, parameters?: URLSearchParams}} [asked] named: what stands in
 *   the route in braces.
 * @returns {Promise<Answers[Route]>}
 */
async function json(route, asked = {}) {
  const { named = {}, parameters, ...init } = asked;
  const [method, path = ""] = route.split(" ");
  // Without its "/": the page may stand below another path.
  const address = path.slice(1).replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(String(named[name])));
  const response = await request(String(parameters ?? "") ? `${address}?${parameters}` : address, { method, ...init });
  try {
    return await response.json();
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError(0, "The answer of the server broke off.");
  }
}

export const gallery = () => json("GET /api/gallery");

/** Pictures from all over the gallery.
 * @param {number} n
 * @param {string | null} where
 * @param {AbortSignal} signal
 */
export async function sample(n, where, signal) {
  const parameters = filtered(where, { n });
  return { more: false, warnings: [], notes: [], probability: null, worth: null, ...(await json("GET /api/sample", { parameters, signal })) };
}

/**
 * @param {string | null} where
 * @param {Record<string, string | number>} more
 */
function filtered(where, more = {}) {
  const parameters = new URLSearchParams(where ? { where } : {});
  for (const [name, value] of Object.entries(more)) parameters.set(name, String(value));
  return parameters;
}

/** How many pictures there are of each month.
 * @param {string | null} where
 * @param {AbortSignal} signal
 */
export const timeline = (where, signal) => json("GET /api/timeline", { parameters: filtered(where), signal });

/** Pictures of the timeline.
 * @param {string | null} where @param {number} offset @param {number} n @param {AbortSignal} signal
 */
export function timelinePictures(where, offset, n, signal) {
  return json("GET /api/timeline/pictures", { parameters: filtered(where, { offset, n }), signal });
}

/** The values of a facet, with their counts.
 * @param {string} facet @param {string | null} where @param {AbortSignal} signal
 */
export function facet(facet, where, signal) {
  return json("GET /api/facets/{facet}", { named: { facet }, parameters: filtered(where), signal });
}

/** The folders below one, with their counts; without a root, the roots.
 * @param {{root?: number, path?: string}} below @param {string | null} where @param {AbortSignal} signal
 */
export const folders = (below, where, signal) => json("GET /api/folders", { parameters: filtered(where, below), signal });

/** Where pictures were taken, in a part of the world that is cut into so many cells.
 * @param {{south: number, west: number, north: number, east: number, across: number, down: number}} part
 * @param {string | null} where @param {AbortSignal} signal
 */
export const places = (part, where, signal) => json("GET /api/places", { parameters: filtered(where, part), signal });

/** Row ids of pictures of the timeline.
 * @param {string | null} where @param {number} offset @param {number} n
 */
export const timelineRows = (where, offset, n) => json("GET /api/timeline/rows", { parameters: filtered(where, { offset, n }) });

/** @param {number[]} row_ids */
const chosen = (row_ids) => ({ body: JSON.stringify({ row_ids }), headers: { "Content-Type": "application/json" } });

/** Where the files of pictures are.
 * @param {number[]} rows
 */
export const files = (rows) => json("POST /api/files", chosen(rows));

/** Chooses the pictures of a zip.
 * @param {number[]} rows
 */
export const chooseZip = (rows) => json("POST /api/zips", chosen(rows));

/** The address of a zip whose pictures were chosen.
 * @param {string} name
 */
export const zip = (name) => `api/zips/${name}`;

/** @param {Query} query @param {{k: number, offset: number, signal: AbortSignal}} page */
export function ask(query, { k, offset, signal }) {
  const headers = { "Content-Type": "application/json" };
  return json("POST /api/query", { body: JSON.stringify(bodyOf(query, k, offset)), headers, signal });
}

/**
 * Where in a picture what is asked is seen.
 * @param {number} row @param {Query} query @param {{quick?: boolean, signal: AbortSignal}} how quick: as a preview
 */
export function regions(row, query, { quick = false, signal }) {
  const asked = { body: JSON.stringify({ parts: partBodies(query), quick }), headers: { "Content-Type": "application/json" } };
  return json("POST /api/images/{row_id}/regions", { named: { row_id: row }, ...asked, signal });
}

/** The names that queries are kept under. */
export const kept = () => json("GET /api/kept");

/**
 * Keeps what a query asks under a name.
 * @param {string} name @param {Query} query @param {boolean} replace what is kept under it
 */
export function keep(name, query, replace) {
  const body = JSON.stringify({ name, parts: partBodies(query), replace });
  return json("POST /api/kept", { body, headers: { "Content-Type": "application/json" } });
}

/** Keeps nothing under a name any more.
 * @param {string} name
 */
export const deleteKept = (name) => json("DELETE /api/kept/{name}", { named: { name } });

/** @param {Blob} file */
export function upload(file) {
  const headers = { "Content-Type": file.type || "application/octet-stream" };
  return json("POST /api/pictures", { body: file, headers });
}

/** @param {number} row @param {AbortSignal} [signal] */
export const item = (row, signal) => json("GET /api/images/{row_id}", { named: { row_id: row }, signal });

/** Whether the server answers at all. */
export async function alive() {
  try {
    await request("health", { cache: "no-store" });
    return true;
  } catch (error) {
    return error instanceof ApiError && !error.unreachable;
  }
}

/**
 * Opens a session with the server's token.
 * @param {string} token
 */
export function enter(token) {
  return request("api/session", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
}

/**
 * Why a picture did not load: null where it does now.
 * @param {string} source
 * @returns {Promise<ApiError | null>}
 */
export async function whyNot(source) {
  try {
    await request(source);
    return null;
  } catch (error) {
    return error instanceof ApiError ? error : new ApiError(0, "");
  }
}

/** @param {number} row @param {Edge} edge */
const thumbnailOf = (row, edge) => `api/images/${row}/thumbnail?edge=${edge}`;

/**
 * The address of a thumbnail whose longer side has at least so many pixels, where there are so large ones.
 * @param {number} row
 * @param {number} edge
 */
export function thumbnail(row, edge) {
  return thumbnailOf(row, edge <= 320 ? 320 : edge <= 640 ? 640 : 1280);
}

/**
 * The moments of a film, best first.
 * @param {Query} query @param {string} prefix what the paths of its frames begin with @param {number} k @param {AbortSignal} signal
 */
export function moments(query, prefix, k, signal) {
  const headers = { "Content-Type": "application/json" };
  return json("POST /api/query", { body: JSON.stringify(momentsBodyOf(query, prefix, k)), headers, signal });
}

/**
 * The address of the film that a frame is of.
 * @param {number} row
 */
export const film = (row) => `api/images/${row}/film`;

/**
 * The address of a part of a picture, small.
 * @param {number} row
 * @param {string} box left, top, right, bottom in shares of the picture
 */
export const part = (row, box) => `api/images/${row}/part?edge=320&box=${box}`;

/** @param {number} row */
export const original = (row) => `api/images/${row}/original`;

/**
 * The address of a picture in a format that every browser shows, of practically its own pixels.
 * @param {number} row
 */
export const converted = (row) => thumbnailOf(row, 8192);

/**
 * The address of a part of a picture, at its own pixels.
 * @param {number} row
 * @param {{left: number, top: number, width: number, height: number}} box
 */
export const crop = (row, box) => `api/images/${row}/crop?${filtered(null, box)}`;

/** @param {string} hash */
export const uploaded = (hash) => `api/pictures/${hash}/thumbnail?edge=320`;
