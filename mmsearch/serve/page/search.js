/**
 * Queries asked and answers held: what is on the screen, what comes after it, and what stood there before, so that
 * "back" is immediate.
 *
 * @typedef {import("./query.js").Query} Query
 * @typedef {import("./api.js").Hit} Hit
 * @typedef {{query: Query, hits: Hit[], more: boolean, warnings: string[], notes: string[], captions: string[], version: number,
 *   probability?: number | null, reranked?: number | null, worth?: string | null, months?: api.Month[], took: number, scroll: number}} Shown  took:
 *   milliseconds, as the page saw them. worth: what to know before one looks at the hits. reranked: how many of the best. months: of the timeline, where
 *   that is shown instead of hits.
 */
import * as api from "./api.js";
import { isAsked, isTimeline, toAddress, whereOf } from "./query.js";

const FIRST = 60;
const FURTHER = 120;
const SAMPLE = 60;
const REMEMBERED = 12;

export class Search {
  /** @type {Shown | null} */
  shown = null;
  /** The most hits that the server gives for a query. */
  deepest = 10_000;
  /** @type {Map<string, Shown>} */
  #remembered = new Map();
  #waiting = new AbortController();
  #further = false;
  /**
   * What failed and may be tried again.
   * @type {(() => Promise<void>) | null}
   */
  #again = null;

  /**
   * @param {{asking: (query: Query | null) => void, answered: (shown: Shown) => void,
   *   continued: (shown: Shown, hits: Hit[]) => void, failed: (error: api.ApiError, query: Query) => void}} on
   *   asking: a query that is on its way; null once it no longer is. continued: further hits of what is shown.
   */
  constructor(on) {
    this.on = on;
  }

  /**
   * Asks, and forgets what was on its way.
   * @param {Query} query
   * @param {boolean} [remembered] an answer that was shown before will do
   */
  async ask(query, remembered = false) {
    this.#waiting.abort();
    this.#further = false;
    this.#again = null;
    const key = toAddress(query);
    const known = remembered ? this.#remembered.get(key) : undefined;
    if (known) {
      this.on.asking(null);
      return this.#answered(key, known);
    }
    const waiting = (this.#waiting = new AbortController());
    this.on.asking(query);
    const began = performance.now();
    try {
      const answer = await this.#answer(query, waiting.signal);
      const took = performance.now() - began;
      this.#answered(key, { captions: [], ...answer, query, notes: answer.notes ?? [], hits: unique(answer.hits, []), took, scroll: 0 });
    } catch (error) {
      if (!(error instanceof api.ApiError)) return unlessAbort(error);
      if (error.passes) this.#again = () => this.ask(query);
      this.on.failed(error, query);
    } finally {
      if (waiting === this.#waiting) this.on.asking(null);
    }
  }

  /** @param {Query} query @param {AbortSignal} signal */
  async #answer(query, signal) {
    if (isAsked(query)) return api.ask(query, { k: FIRST, offset: 0, signal });
    if (!isTimeline(query)) return api.sample(SAMPLE, whereOf(query), signal);
    return { hits: [], more: false, warnings: [], notes: [], ...(await api.timeline(whereOf(query), signal)) };
  }

  /** Asks for the hits after those that are shown, if there are any and nobody does so already. */
  async further() {
    const { shown } = this;
    if (!shown?.more || this.#further || this.#again || (shown.hits.at(-1)?.rank ?? 0) >= this.deepest) return;
    this.#further = true;
    const { signal } = this.#waiting;
    const offset = shown.hits.at(-1)?.rank ?? 0; // not their number: one that moved may have been left out
    try {
      const k = Math.min(FURTHER, this.deepest - offset);
      const answer = await api.ask(shown.query, { k, offset, signal });
      const hits = unique(answer.hits, shown.hits);
      shown.hits.push(...hits);
      shown.more = answer.more && hits.length > 0;
      if (answer.version !== shown.version && !shown.warnings.includes(CHANGED)) shown.warnings.push(CHANGED);
      this.on.continued(shown, hits);
    } catch (error) {
      if (!(error instanceof api.ApiError)) return unlessAbort(error);
      if (error.passes) this.#again = () => this.further();
      else shown.more = false;
      this.on.failed(error, shown.query);
    } finally {
      if (shown === this.shown) this.#further = false;
    }
  }

  /** Asks again what failed because the server was gone. */
  async again() {
    const again = this.#again;
    this.#again = null;
    await again?.();
  }

  /** @param {string} key @param {Shown} shown */
  #answered(key, shown) {
    this.#remembered.delete(key);
    this.#remembered.set(key, shown);
    for (const old of [...this.#remembered.keys()].slice(0, -REMEMBERED)) this.#remembered.delete(old);
    this.shown = shown;
    this.on.answered(shown);
  }
}

const CHANGED = "The gallery has changed while you looked: search again to see all of it.";

/**
 * Hits that are not among those before: a gallery that changes moves them.
 * @param {Hit[]} hits
 * @param {Hit[]} before
 */
function unique(hits, before) {
  const seen = new Set(before.map((hit) => hit.row_id));
  return hits.filter((hit) => !seen.has(hit.row_id) && seen.add(hit.row_id));
}

/** @param {unknown} error */
function unlessAbort(error) {
  if (!api.isAbort(error)) throw error;
}
