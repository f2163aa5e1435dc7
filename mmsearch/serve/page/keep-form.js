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
  #error = byId("keep-error", HTMLElement);
  /** A name that is taken, and that may be given to what is asked now by a second press. */
  #taken = "";

  /** @param {() => Query} query @param {(error: unknown) => void} failed */
  constructor(query, failed) {
    this.query = query;
    this.failed = failed;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#keep(this.#name.value.trim().replace(/^@/, ""));
    });
    this.#name.addEventListener("input", () => this.#say("", ""));
  }

  /** @param {Gallery} gallery */
  about(gallery) {
    this.#form.hidden = !gallery.keeps;
  }

  /** @param {Query} query */
  show(query) {
    const name = keptName(query);
    if (name && document.activeElement !== this.#name) this.#name.value = name;
    this.#say("", "");
  }

  /** @param {string} name */
  async #keep(name) {
    if (!name) return this.#name.focus();
    try {
      await api.keep(name, this.query(), this.#taken === name || keptName(this.query()) === name);
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
}

/**
 * Offers the kept queries on the start page.
 * @param {Gallery} gallery @param {(words: string) => void} ask
 */
export async function offerKept(gallery, ask) {
  const group = byId("kept", HTMLElement);
  const names = gallery.keeps ? (await api.kept()).names : [];
  const buttons = names.map((name) => {
    const button = element("button", { type: "button", class: "example", dir: "auto" }, `@${shown(name)}`);
    button.addEventListener("click", () => ask(`@${name}`));
    return button;
  });
  group.hidden = !buttons.length;
  group.replaceChildren(...buttons);
}
