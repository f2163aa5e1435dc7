/**
 * The server: one function a request. Every failure is an ApiError.
 *
 * @typedef {import("./question.js").Question} Question
 * @typedef {{rank: number, score: number | null, row_id: number, path: string | null,
 *   file: string | null, caption?: string | null, image?: number | null, width?: number | null,
 *   height?: number | null, taken_at?: string | null, gone: boolean}} Hit
 * @typedef {{hits: Hit[], more: boolean, warnings: string[], version: number}} Answer
 * @typedef {{name: string, type: string}} Column
 * @typedef {{name: string, version: number, images: number, captions: number, skipped?: number,
 *   encoder: {spec: string, dim: number, declared: boolean}, answers_text?: boolean, text_problem?: string | null, mmsearch: string,
 *   indexes?: {table: string, factory: string, recall?: number | null}[], roots?: {id: number, path: string}[],
 *   columns?: {images?: Column[], captions?: Column[]}, limits?: {upload_bytes?: number, hits?: number}}} Gallery
 * @typedef {Hit & {bytes?: number | null, captions?: string[], format?: string | null, mtime?: string | null}} Item
 */
import { toQuery } from "./question.js";

export class ApiError extends Error {
  /** @param {number} status 0 where no answer came @param {string} words @param {Record<string, unknown>} [body] */
  constructor(status, words, body = {}) {
    super(words);
    this.status = status;
    this.code = String(body.code ?? "");
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
  /** @type {Record<string, unknown>} */
  let body = {};
  try {
    body = await response.json();
  } catch {
    // not the server's own words: a proxy's page, or half an answer
  }
  const words = typeof body.error === "string" ? body.error : `The server answered ${response.status}.`;
  throw new ApiError(response.status, words, body);
}

/** @param {string} path @param {RequestInit} [init] @returns {Promise<any>} */
async function json(path, init) {
  const response = await request(path, init);
  try {
    return await response.json();
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError(0, "The answer of the server broke off.");
  }
}

/** @param {unknown} body @returns {RequestInit} */
function posted(body) {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

/** @returns {Promise<Gallery>} */
export const gallery = () => json("api/gallery");

/** Pictures from all over the gallery.
 * @param {number} n
 * @param {string | null} where
 * @param {AbortSignal} signal
 * @returns {Promise<Answer & {captions: string[]}>} */
export async function sample(n, where, signal) {
  const asked = new URLSearchParams({ n: String(n) });
  if (where) asked.set("where", where);
  return { more: false, warnings: [], captions: [], ...(await json(`api/sample?${asked}`, { signal })) };
}

/** @param {Question} question @param {{k: number, offset: number, signal: AbortSignal}} page @returns {Promise<Answer>} */
export function ask(question, { k, offset, signal }) {
  return json("api/query", { ...posted(toQuery(question, k, offset)), signal });
}

/** @param {Blob} file @returns {Promise<{picture: string, row_id?: number | null}>} */
export function upload(file) {
  const headers = { "Content-Type": file.type || "application/octet-stream" };
  return json("api/pictures", { method: "POST", body: file, headers });
}

/** @param {number} row @param {AbortSignal} [signal] @returns {Promise<Item>} */
export const item = (row, signal) => json(`api/images/${row}`, { signal });

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

const EDGES = [320, 640, 1280];

/**
 * The address of a thumbnail whose longer side has at least so many pixels.
 * @param {number} row
 * @param {number} edge
 */
export function thumbnail(row, edge) {
  return `api/images/${row}/thumbnail?edge=${EDGES.find((one) => one >= edge) ?? EDGES.at(-1)}`;
}

/** @param {number} row */
export const original = (row) => `api/images/${row}/original`;

/**
 * The address of a picture in a format that every browser shows, of practically its own pixels.
 * @param {number} row
 */
export const converted = (row) => `api/images/${row}/thumbnail?edge=8192`;

/** @param {string} hash */
export const uploaded = (hash) => `api/pictures/${hash}/thumbnail?edge=320`;
