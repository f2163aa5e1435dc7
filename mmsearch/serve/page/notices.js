/** What the page says aside: an error above the pictures, a word that passes, and what only screen readers hear. */
import * as api from "./api.js";
import { byId } from "./elements.js";

const banner = byId("banner", HTMLElement);
const words = byId("banner-words", HTMLElement);
const button = byId("banner-button", HTMLButtonElement);
const passing = byId("toast", HTMLElement);
const live = byId("live", HTMLElement);

/** @type {() => void} */
let pressed = () => {};
let toastEnds = 0;
button.addEventListener("click", () => pressed());

/**
 * Says what went wrong; the pictures stay.
 * @param {string} error
 * @param {string} action
 * @param {() => void} act
 */
export function complain(error, action = "Dismiss", act = settle) {
  words.textContent = error;
  button.textContent = action;
  pressed = act;
  banner.hidden = false;
  if (document.querySelector("dialog[open]")) toast(error);
}

/** Takes the complaint away. */
export function settle() {
  banner.hidden = true;
  words.textContent = "";
}

/**
 * A word that passes.
 * @param {string} text
 */
export function toast(text) {
  (document.querySelector("dialog[open]") ?? document.body).append(passing); // what is outside of a dialog is inert
  passing.textContent = text;
  passing.classList.add("there");
  clearTimeout(toastEnds);
  toastEnds = window.setTimeout(() => passing.classList.remove("there"), 2600);
}

/**
 * Tells screen readers.
 * @param {string} text
 */
export function announce(text) {
  live.textContent = live.textContent === text ? `${text}\u00a0` : text;
}

/** Watches for a server that is gone to come back. */
export class Connection {
  #timer = 0;
  #wait = 0;
  #looking = false;

  /** @param {() => void} back what to do when it is */
  constructor(back) {
    this.back = back;
    addEventListener("online", () => this.#timer && this.#look());
    document.addEventListener("visibilitychange", () => this.#timer && !document.hidden && this.#look());
  }

  /** It did not answer. */
  lost() {
    if (this.#timer) return;
    this.#wait = 1;
    this.#later();
  }

  #later() {
    complain("The server does not answer. What you see stays, and the page tries again.", "Try now", () => this.#look());
    this.#timer = window.setTimeout(() => this.#look(), this.#wait * 1000);
    this.#wait = Math.min(15, this.#wait * 1.6);
  }

  async #look() {
    if (this.#looking) return;
    this.#looking = true;
    clearTimeout(this.#timer);
    const alive = await api.alive();
    this.#looking = false;
    if (!alive) return this.#later();
    this.#timer = 0;
    settle();
    this.back();
  }
}
