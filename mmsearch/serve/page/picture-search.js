/**
 * Searching with pictures: files become parts of the query, and what the server forgot is sent again.
 *
 * @typedef {import("./answer-summary.js").AnswerSummary} AnswerSummary
 * @typedef {import("./api.js").ApiError} ApiError
 * @typedef {import("./chips.js").Chips} Chips
 * @typedef {import("./current-query.js").CurrentQuery} CurrentQuery
 * @typedef {import("./grid.js").Grid} Grid
 * @typedef {import("./query.js").Query} Query
 * @typedef {import("./viewer-history.js").ViewerHistory} ViewerHistory
 */
import { byId } from "./elements.js";
import { complain, toast } from "./notices.js";
import { choosePictures, send, sendAgain } from "./pictures.js";
import { toAddress, withPart } from "./query.js";
import { count, shown } from "./text.js";

const TOGETHER = 4; // pictures that one drop may bring

export class PictureSearch {
  /** The most bytes that the server takes of a picture. */
  largest = Infinity;
  /** @type {string | null} the content hash of a picture that the server does not know, and nobody could send again */
  #unknown = null;

  /**
   * @param {{query: CurrentQuery, chips: Chips, grid: Grid, summary: AnswerSummary, view: ViewerHistory}} parts of the page
   * @param {(error: unknown, before?: string) => void} failed says what went wrong; before: what with
   */
  constructor({ query, chips, grid, summary, view }, failed) {
    this.query = query;
    this.chips = chips;
    this.grid = grid;
    this.summary = summary;
    this.view = view;
    this.failed = failed;
  }

  /**
   * Searches with pictures that were dropped, pasted or chosen, beside the words that are there. They replace those that
   * were asked with; where one of these is needed again, that one alone.
   * @param {File[]} files
   * @param {boolean} added they replace none
   */
  async searchWith(files, added) {
    const images = files.filter((file) => !file.type || file.type.startsWith("image/"));
    if (!images.length) return complain("That is no picture. Drop one of any common format: JPEG, PNG, WebP, HEIC, TIFF …");
    this.view.close();
    byId("asked", HTMLElement).hidden = false;
    const sent = await Promise.all(images.slice(0, TOGETHER).map((file) => this.#send(file)));
    const query = this.query.value;
    const unknown = this.#unknown;
    if (!sent.some(Boolean)) return this.query.show(query);
    const parts = query.parts.filter((part) => (unknown !== null ? part.value !== unknown : added || part.kind === "text" || part.kind === "mark" || part.weight < 0));
    /** @type {Query} */
    let asked = { ...query, parts };
    for (const hash of sent) if (hash) asked = withPart(asked, { kind: "picture", value: hash, weight: 1 });
    if (toAddress(asked) === toAddress(query)) return this.query.show(query);
    if (unknown === null && parts.length < query.parts.length) toast("It replaced the picture before; drop one with Shift to add it");
    this.#unknown = null;
    await this.query.ask(asked);
  }

  /**
   * Sends a file. Its content hash, or null where that failed, which has been said.
   * @param {File} file
   */
  async #send(file) {
    if (file.size > this.largest) {
      complain(`${shown(file.name)} is larger than the server takes (${count(Math.round(this.largest / 1e6))} MB).`);
      return null;
    }
    const arrived = this.chips.sending(file);
    try {
      return await send(file);
    } catch (error) {
      this.failed(error, `${shown(file.name)}: `);
      return null;
    } finally {
      arrived();
    }
  }

  /**
   * The server does not know a picture any more: it is sent again, or asked for.
   * @param {ApiError} error
   * @param {Query} asked
   */
  async resend(error, asked) {
    const hash = error.body.picture ?? asked.parts.find((part) => part.kind === "picture")?.value ?? "";
    try {
      if (await sendAgain(hash)) return await this.query.ask(asked, "stay");
    } catch (again) {
      return this.failed(again);
    }
    this.#unknown = hash;
    this.chips.mark(hash, true);
    const words = "The server no longer knows the picture that was asked with.";
    if (this.grid.length) return complain(`${words} Choose the file again, or drop it here.`, "Choose the picture", choosePictures);
    this.summary.sayNothing("The picture is needed again", `${words} Choose the file, drop it here, or take it out of the query.`, ["Choose the picture", choosePictures]);
  }
}
