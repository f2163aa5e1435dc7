/**
 * What is asked and marked, kept under a name, to be asked again by it: here, and as `mmsearch query @name`.
 *
 * @typedef {import("./api.js").Gallery} Gallery
 * @typedef {import("./query.js").Query} Query
 */
import * as api from "./api.js";
import { byId, element, say } from "./elements.js";
import { toast } from "./notices.js";
import { keptName } from "./query.js";
import { shown } from "./text.js";

export class KeepForm {
  #form = byId("keep", HTMLFormElement);
  #name = byId("keep-name", HTMLInputElement);
  #submit = byId("keep-submit", HTMLButtonElement);
  #delete = byId("keep-delete", HTMLButtonElement);
  #error = byId("keep-error", HTMLElement);
  #offered = byId("kept", HTMLElement);
  /** The name that a second press deletes. */
  #doomed = "";
  /** A name that is taken, and that may be given to what is asked now by a second press. */
  #taken = "";

  /** @param {() => Query} query @param {(words: string) => void} ask @param {(error: unknown) => void} failed */
  constructor(query, ask, failed) {
    this.query = query;
    this.ask = ask;
    this.failed = failed;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#keep(this.#name.value.trim().replace(/^@/, ""));
    });
    this.#name.addEventListener("input", () => this.#say("", ""));
    this.#delete.addEventListener("click", () => void this.#deleteKept(keptName(this.query())));
    this.#delete.addEventListener("blur", () => this.#setDoomed(""));
  }

  /** @param {Gallery} gallery */
  about(gallery) {
    this.#form.hidden = !gallery.keeps;
    const names = gallery.keeps ? api.kept().then((kept) => kept.names) : Promise.resolve([]);
    names.then((found) => this.#offer(found)).catch(this.failed);
  }

  /** @param {Query} query */
  show(query) {
    const name = keptName(query);
    if (name && document.activeElement !== this.#name) this.#name.value = name;
    this.#delete.hidden = !name;
    this.#setDoomed("");
    this.#say("", "");
  }

  /** @param {string} name */
  async #keep(name) {
    if (!name) return this.#name.focus();
    try {
      const { names } = await api.keep(name, this.query(), this.#taken === name || keptName(this.query()) === name);
      this.#offer(names);
      this.#say("", "");
      toast(`Kept: search for @${name} to ask it again`);
    } catch (error) {
      if (!(error instanceof api.ApiError) || error.passes || error.status === 401) return this.failed(error);
      this.#say(shown(error.message), error.code === "name_taken" ? name : "");
    }
  }

  /** @param {string} problem @param {string} taken */
  #say(problem, taken) {
    this.#taken = taken;
    say(this.#error, problem);
    this.#submit.textContent = taken ? "Replace" : "Keep";
  }

  /** Deletes what is kept, by a second press: it is not brought back.
   * @param {string} name
   */
  async #deleteKept(name) {
    if (!name) return;
    if (this.#doomed !== name) return this.#setDoomed(name);
    this.#setDoomed("");
    try {
      const { names } = await api.deleteKept(name);
      this.#offer(names);
      toast(`@${name} is deleted`);
      this.ask("");
    } catch (error) {
      if (!(error instanceof api.ApiError) || error.passes || error.status === 401) return this.failed(error);
      this.#say(shown(error.message), "");
    }
  }

  /** @param {string} name of the query that the next press deletes; "" for none */
  #setDoomed(name) {
    this.#doomed = name;
    this.#delete.textContent = name ? `Delete @${name}` : "Delete";
  }

  /** Offers the kept queries on the start page.
   * @param {readonly string[]} names
   */
  #offer(names) {
    const buttons = names.map((name) => {
      const button = element("button", { type: "button", class: "example", dir: "auto" }, `@${shown(name)}`);
      button.addEventListener("click", () => this.ask(`@${name}`));
      return button;
    });
    this.#offered.hidden = !buttons.length;
    this.#offered.replaceChildren(...buttons);
  }
}
