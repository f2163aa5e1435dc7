/**
 * The pictures of the timeline that are known: fetched piece by piece where they are wanted, and let go where they were
 * not looked at for longest.
 *
 * @typedef {import("./api.js").Hit} Hit
 */
import * as api from "./api.js";

const PIECE = 120; // pictures of a request
const KEPT = 50; // pieces
const MOST_ROWS = 100_000; // of a request
const TOGETHER = 2; // requests at a time

export class TimelinePictures {
  /**
   * By number; those looked at last come last.
   * @type {Map<number, readonly Hit[]>}
   */
  #pieces = new Map();
  /** @type {Set<number>} */
  #coming = new Set();
  /**
   * The places that are wanted: from the first up to the second.
   * @type {[number, number]}
   */
  #wanted = [0, 0];
  #ends = new AbortController();
  #version = 0;

  /** @param {{came: () => void, changed: () => void, failed: (error: api.ApiError) => void}} on
   *   came: some that were wanted. changed: the gallery is another version than the one that was counted. */
  constructor(on) {
    this.on = on;
  }

  /**
   * Forgets all pictures: others are asked for now.
   * @param {string | null} where @param {number} version of the gallery
   */
  begin(where, version) {
    this.#ends.abort();
    this.#ends = new AbortController();
    this.#pieces.clear();
    this.#coming.clear();
    this.#wanted = [0, 0];
    this.where = where;
    this.#version = version;
  }

  /** @param {number} place */
  at(place) {
    return this.#pieces.get(Math.floor(place / PIECE))?.[place % PIECE] ?? null;
  }

  /**
   * The place of a picture among those that are known; -1 where it is none of them.
   * @param {number} row
   */
  placeOf(row) {
    for (const [number, hits] of this.#pieces) {
      const index = hits.findIndex((hit) => hit.row_id === row);
      if (index >= 0) return number * PIECE + index;
    }
    return -1;
  }

  /**
   * Has the pictures of these places fetched, and no longer those that were wanted before.
   * @param {number} from @param {number} to
   */
  want(from, to) {
    this.#wanted = [Math.max(0, from), to];
    this.#fetch();
  }

  /**
   * The rows from one place up to another, whether they are known or not.
   * @param {number} from @param {number} to
   */
  async rowsBetween(from, to) {
    const known = Array.from({ length: to - from }, (_, index) => this.at(from + index)?.row_id ?? -1);
    if (!known.includes(-1)) return known;
    const { row_ids } = await api.timelineRows(this.where ?? null, from, Math.max(1, Math.min(to - from, MOST_ROWS)));
    return row_ids;
  }

  #fetch() {
    const [from, to] = this.#wanted;
    for (let number = Math.floor(from / PIECE); number * PIECE < to; number += 1) {
      const known = this.#pieces.get(number);
      if (known) {
        this.#pieces.delete(number);
        this.#pieces.set(number, known);
      } else if (!this.#coming.has(number)) {
        if (this.#coming.size >= TOGETHER) return; // whoever passes quickly asks for where it ends
        void this.#fetchPiece(number);
      }
    }
  }

  /** @param {number} number */
  async #fetchPiece(number) {
    const { signal } = this.#ends;
    this.#coming.add(number);
    try {
      const { hits, version } = await api.timelinePictures(this.where ?? null, number * PIECE, PIECE, signal);
      if (version !== this.#version) return this.on.changed();
      this.#pieces.set(number, hits);
      for (const old of [...this.#pieces.keys()].slice(0, -KEPT)) this.#pieces.delete(old);
      this.on.came();
    } catch (error) {
      if (error instanceof api.ApiError) this.on.failed(error);
      else if (!api.isAbort(error)) throw error;
      return;
    } finally {
      if (!signal.aborted) this.#coming.delete(number);
    }
    this.#fetch();
  }
}
